# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What an nginx configuration says, read from the dump of `nginx -T`, which nginx has accepted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

FILE_HEADER = re.compile(r"^# configuration file (/.+):$", re.MULTILINE)
RAW_BLOCK = re.compile(r"_by_lua_block$|^js_code$|^perl_set$")
INCLUDE_DEPTH = 20  # nginx has no limit of its own; it refuses a file that includes itself


class NginxSyntaxError(Exception):
    """A text is not an nginx configuration; the message names file and line."""


@dataclass(frozen=True)
class Directive:
    """One directive; `block` is None for one that ends in a semicolon. `line` counts from 1."""

    name: str
    arguments: tuple[str, ...]
    block: tuple[Directive, ...] | None
    file: str
    line: int

    @property
    def place(self) -> str:
        """FILE:LINE, as nginx itself writes it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Listen:
    """One `listen` of a server. `address` is '*', '[::]', '192.0.2.1', '[2001:db8::1]' or a name."""

    address: str
    port: int
    options: frozenset[str]

    @property
    def socket(self) -> tuple[str, int]:
        """What nginx compares when it decides whether two servers share a socket."""
        return self.address, self.port

    @property
    def is_default(self) -> bool:
        """The server asked to answer for unknown names on this socket."""
        return bool({"default_server", "default"} & self.options)

    @property
    def is_wildcard(self) -> bool:
        """It stands for all addresses of its family."""
        return self.address in {"*", "[::]"}

    def meets(self, other: Listen) -> bool:
        """Both cannot be open at once: one address of a port, or all of a family and one of it."""
        family = (":" in self.address) == (":" in other.address) or bool(
            {"ipv6only=off"} & (self.options | other.options)
        )
        is_any = family and (self.is_wildcard or other.is_wildcard)
        return self.port == other.port and (self.address == other.address or is_any)

    @property
    def target(self) -> str:
        """The address to connect to from this host."""
        if self.address == "*" or (self.address == "[::]" and "ipv6only=off" in self.options):
            return "127.0.0.1"
        return "::1" if self.address == "[::]" else self.address.strip("[]")


@dataclass(frozen=True)
class Server:
    """One server; `protocols` are the ssl_protocols in force for it, () when nobody set any."""

    names: tuple[str, ...]
    listens: tuple[Listen, ...]
    protocols: tuple[str, ...]
    file: str
    line: int

    @property
    def place(self) -> str:
        """FILE:LINE of the block."""
        return f"{self.file}:{self.line}"

    def on(self, port: int) -> tuple[Listen, ...]:
        """The sockets of this server with that port."""
        return tuple(listen for listen in self.listens if listen.port == port)


@dataclass(frozen=True)
class _Token:
    """A word, or one of `;` `{` `}` (`quoted` tells a word from these)."""

    text: str
    line: int
    is_word: bool


def _word(text: str, start: int) -> tuple[str, int]:
    """A word that starts at the position, and where it ends. Quotes count only at its start, as in nginx."""
    quote = text[start] if text[start] in "\"'" else ""
    position = start + len(quote)
    value: list[str] = []
    while position < len(text):
        character = text[position]
        if character == "\\" and position + 1 < len(text):
            following = text[position + 1]
            value.append(
                {"t": "\t", "r": "\r", "n": "\n"}.get(following, following)
                if following in "\"'\\trn"
                else character + following
            )
            position += 2
            continue
        if quote and character == quote:
            return "".join(value), position + 1
        is_variable = character == "{" and value[-1:] == ["$"]
        if not quote and (character.isspace() or character in ";{") and not is_variable:
            break
        if is_variable:
            end = text.find("}", position)
            character = text[position : end + 1] if end > 0 else character
        value.append(character)
        position += len(character)
    return "".join(value), position


def _skip_raw(text: str, start: int) -> int:
    """The position of the brace that closes the block opened just before `start`."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return len(text)


def _tokens(text: str) -> Iterator[_Token]:
    position, line, first = 0, 1, ""
    while position < len(text):
        character = text[position]
        start = position
        if character.isspace():
            position += 1
        elif character == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        elif character in ";{}":
            yield _Token(character, line, is_word=False)
            position += 1
            if character == "{" and RAW_BLOCK.search(first):
                position = _skip_raw(text, position)
            first = ""
        else:
            word, position = _word(text, position)
            first = first or word
            yield _Token(word, line, is_word=True)
        line += text.count("\n", start, position)


def _block(tokens: Iterator[_Token], file: str, is_inner: bool) -> tuple[Directive, ...]:
    """The directives up to the closing brace (or the end of the file)."""
    found: list[Directive] = []
    words: list[_Token] = []
    for token in tokens:
        if token.is_word:
            words.append(token)
            continue
        if token.text == "}" and not words:
            if is_inner:
                return tuple(found)
            raise NginxSyntaxError(f'unexpected "}}" in {file}:{token.line}')
        if token.text == "}" or not words:
            raise NginxSyntaxError(f'unexpected "{token.text}" in {file}:{token.line}')
        inner = _block(tokens, file, is_inner=True) if token.text == "{" else None
        arguments = tuple(word.text for word in words[1:])
        found.append(Directive(words[0].text, arguments, inner, file, words[0].line))
        words = []
    if is_inner or words:
        raise NginxSyntaxError(f"unexpected end of file in {file}")
    return tuple(found)


def parse(text: str, file: str) -> tuple[Directive, ...]:
    """The directives of one file, includes not followed. Raises NginxSyntaxError."""
    return _block(_tokens(text), file, is_inner=False)


def matches(pattern: str, path: str) -> bool:
    """A glob pattern names the path; a `*` matches no slash and no leading dot."""
    parts, names = pattern.split("/"), path.split("/")
    if len(parts) != len(names):
        return False
    return all(
        fnmatchcase(names[place], part) and (part.startswith(".") or not names[place].startswith("."))
        for place, part in enumerate(parts)
    )


def _inlined(
    directives: Sequence[Directive], files: dict[str, str], folder: str, depth: int
) -> Iterator[Directive]:
    """The directives, with every `include` followed by what it brings in."""
    for directive in directives:
        if directive.block is not None:
            block = tuple(_inlined(directive.block, files, folder, depth))
            directive = Directive(directive.name, directive.arguments, block, directive.file, directive.line)
        yield directive
        if directive.name == "include" and directive.arguments and depth < INCLUDE_DEPTH:
            pattern = os.path.join(folder, directive.arguments[0])
            for path in sorted(path for path in files if matches(pattern, path)):
                yield from _inlined(parse(files[path], path), files, folder, depth + 1)


def read_dump(dump: str, main_file: str) -> tuple[Directive, ...]:
    """The whole configuration from the output of `nginx -T`, with the included files in their places."""
    pieces = FILE_HEADER.split(dump)
    # The header line's own newline is left at the start of every file's text: without it, line numbers fit.
    files = {pieces[place]: pieces[place + 1][1:] for place in range(1, len(pieces), 2)}
    if main_file not in files:
        raise NginxSyntaxError(f"nginx -T does not show {main_file}")
    return tuple(_inlined(parse(files[main_file], main_file), files, os.path.dirname(main_file), 0))


def named(directives: Iterable[Directive], name: str) -> list[Directive]:
    """The directives of one level with that name."""
    return [directive for directive in directives if directive.name == name]


def listen_of(directive: Directive) -> Listen | None:
    """A `listen` directive; None for a socket that is no TCP address (unix:, QUIC)."""
    value, options = directive.arguments[0], frozenset(directive.arguments[1:])
    if value.startswith("unix:") or "quic" in options:
        return None
    if value.isdigit():
        return Listen("*", int(value), options)
    address, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or (address.startswith("[") and not address.endswith("]")):
        return Listen(value, 80, options)
    return Listen("*" if address in {"*", "0.0.0.0"} else address, int(port), options)  # noqa: S104


def _arguments(directives: Iterable[Directive], name: str) -> tuple[str, ...]:
    return tuple(argument for directive in named(directives, name) for argument in directive.arguments)


def servers(directives: Iterable[Directive], context: str = "http") -> list[Server]:
    """The servers of one kind of block, `http` or `stream`, in the order in which nginx reads them."""
    found: list[Server] = []
    for http in named(directives, context):
        general = _arguments(http.block or (), "ssl_protocols")
        for server in named(http.block or (), "server"):
            block = server.block or ()
            listens = tuple(filter(None, (listen_of(line) for line in named(block, "listen"))))
            names = tuple(name.lower() for name in _arguments(block, "server_name"))
            protocols = _arguments(block, "ssl_protocols") or general
            is_silent = not named(block, "listen")
            found.append(
                Server(
                    names,
                    (Listen("*", 80, frozenset()),) if is_silent else listens,
                    protocols,
                    server.file,
                    server.line,
                )
            )
    return found


def default_server(found: Sequence[Server], socket: tuple[str, int]) -> Server | None:
    """Who answers for unknown names on a socket: whoever asked to, else the first in the configuration."""
    sharing = [(server, listen) for server in found for listen in server.listens if listen.socket == socket]
    asked = [server for server, listen in sharing if listen.is_default]
    return asked[0] if asked else (sharing[0][0] if sharing else None)


def main_includes(directives: Iterable[Directive], main_file: str) -> list[str]:
    """The include patterns outside all blocks, as absolute paths."""
    folder = os.path.dirname(main_file)
    return [
        os.path.join(folder, include.arguments[0])
        for include in named(directives, "include")
        if include.arguments
    ]


def http_includes(directives: Iterable[Directive], main_file: str) -> list[str]:
    """The include patterns of the http block itself, as absolute paths."""
    folder = os.path.dirname(main_file)
    return [
        os.path.join(folder, include.arguments[0])
        for http in named(directives, "http")
        for include in named(http.block or (), "include")
        if include.arguments
    ]
