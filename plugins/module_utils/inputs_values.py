# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the collection's input values must look like, one parser per kind of value.

Every parser takes the raw value (numbers and booleans may be text, as they are on the command line), returns
it in its proper type, and raises InvalidValueError when it is something else. The error's text is the first
half of a message to the operator: it shows the value and says what is wrong with it, never what to set.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

TRUE_WORDS = frozenset({"yes", "true", "on", "y", "t", "1"})
FALSE_WORDS = frozenset({"no", "false", "off", "n", "f", "0"})
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")  # RFC 1123, 2.1, in lower case
SHOWN_LENGTH = 80

MINIMUM_SECRET_LENGTH = 32  # LiveKit itself only logs an error for a shorter one
MINIMUM_DISTINCT_CHARACTERS = 8  # 32 random hexadecimal digits have 14 of them on average

# Secrets printed in guides and widely copied sample configurations, as letters and digits in lower case.
SAMPLE_SECRETS = frozenset(
    {
        "secret",
        "secret1",
        "devsecret",
        "devkey",
        "changeme",
        "mrtcsecret",
        "livekitsecret",
        "lksecretatleast32chars",
        "23ztfsqsfq8hkkhzhtl3z4bvaxro0snjk5jwbp5p6q3",
        "083ca120732019b2cf4a350d1c928173",
    }
)
SAMPLE_KEYS = frozenset({"devkey", "key1", "apikey", "yourapikey", "mrtckey", "lkkey", "changeme"})
# No random secret contains one of these: of a thousand million secrets of 43 characters about one would.
SAMPLE_WORDS = (
    "atleast32",
    "changeme",
    "changethis",
    "devkey",
    "example",
    "password",
    "placeholder",
    "replace",
    "secret",
)


class InvalidValueError(ValueError):
    """A value is not what its variable takes; the text is a clause such as "'x' is not a number"."""


def shown(value: object) -> str:
    """A value as it may stand in a message: quoted, shortened, without the password of a URL."""
    text = re.sub(r"//[^/@\s]*@", "//***@", str(value))
    if len(text) > SHOWN_LENGTH:
        text = text[:SHOWN_LENGTH] + "..."
    return f"'{text}'"


def is_missing(value: object) -> bool:
    """Nothing was given: null or text that is empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def plain_text(value: object) -> str:
    """Text that can be told to a program."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{shown(value)} is not text")
    if "\0" in value:
        raise InvalidValueError("has a NUL character in it")
    return value


def integer(value: object) -> int:
    """A whole number, also as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    raise InvalidValueError(f"{shown(value)} is not a whole number")


def at_least(lowest: int) -> Callable[[object], int]:
    """A parser of whole numbers that are not smaller than this."""

    def parse(value: object) -> int:
        number = integer(value)
        if number < lowest:
            raise InvalidValueError(f"{shown(value)} is smaller than {lowest}")
        return number

    return parse


def positive(value: object) -> float:
    """A number above zero, with or without a fraction."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) == 0:
        raise InvalidValueError(f"{shown(value)} is not a number above zero")
    return float(text)


def one_of(words: Sequence[str]) -> Callable[[object], str]:
    """A parser of words from a list."""

    def parse(value: object) -> str:
        if value not in words:
            raise InvalidValueError(f"{shown(value)} is none of {', '.join(words)}")
        return str(value)

    return parse


def matching(pattern: str, what: str) -> Callable[[object], str]:
    """A parser of text of one form; `what` ends the clause "'x' is not ..."."""

    def parse(value: object) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain_text(value)
        if not re.fullmatch(pattern, text):
            raise InvalidValueError(f"{shown(text)} is not {what}")
        return text

    return parse


def boolean(value: object) -> bool:
    """Yes or no, also as one of the words that Ansible takes for them."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS | FALSE_WORDS:
        return word in TRUE_WORDS
    raise InvalidValueError(f"{shown(value)} is neither true nor false")


def list_of_values(value: object) -> list[object]:
    """A list, not one text that looks like one."""
    if not isinstance(value, (list, tuple)):
        raise InvalidValueError(f"{shown(value)} is not a list")
    return list(value)


def mapping(value: object) -> dict[str, object]:
    """A mapping, with its keys as text."""
    if not isinstance(value, dict):
        raise InvalidValueError(f"{shown(value)} is not a mapping of names to values")
    return {str(key): item for key, item in value.items()}


# Names ---------------------------------------------------------------------------------------------


def _refuse_more_than_a_name(name: str) -> None:
    """Catch what people paste instead of a bare name, so that the message can say it in their words."""
    faults = (
        ("://" in name, "has a scheme"),
        (name.startswith("@"), "is a user or starts with '@'"),
        (re.search(r"\s", name) is not None, "has white space in it"),
        ("/" in name, "has a path"),
        ("?" in name or "#" in name, "has a query or fragment"),
        ("*" in name, "has a wildcard"),
        (not name.isascii(), "has letters outside ASCII (write them as punycode, xn--...)"),
        (name != name.lower(), "has upper-case letters"),
        (name.endswith("."), "ends in a dot"),
    )
    for is_so, what in faults:
        if is_so:
            raise InvalidValueError(f"{shown(name)} {what}")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


def _host_name(host: str, whole: str) -> str:
    """The host name if RFC 1123 allows it; `whole` is what the operator wrote."""
    if len(host) > 253 or not all(LABEL.match(label) for label in host.split(".")):
        raise InvalidValueError(
            f"{shown(whole)} is not a host name (labels of letters, digits and inner hyphens, joined by dots)"
        )
    if host.rpartition(".")[2].isdigit():
        raise InvalidValueError(f"{shown(whole)} ends in a number like a broken IP address")
    return host


def server_name(value: object) -> str:
    """A Matrix server name: host name or IP literal, with an optional port (specification, appendices)."""
    name = plain_text(value)
    _refuse_more_than_a_name(name)
    host, colon, number = name.rpartition(":") if re.search(r":[^\]]*\Z", name) else (name, "", "")
    if colon:
        port(number)
    if _address(host) is None or (":" in host and not host.startswith("[")):
        _host_name(host, name)
    return name


def domain(value: object) -> str:
    """A fully qualified host name in lower case, without port."""
    name = plain_text(value)
    _refuse_more_than_a_name(name)
    if _address(name) is not None:
        raise InvalidValueError(f"{shown(name)} is an IP address, for which no certificate would be trusted")
    if ":" in name:
        raise InvalidValueError(f"{shown(name)} has a port")
    if "." not in name:
        raise InvalidValueError(f"{shown(name)} is not a fully qualified host name")
    return _host_name(name, name)


# URLs ----------------------------------------------------------------------------------------------


def _split_url(text: str) -> tuple[SplitResult, str, int | None]:
    try:
        parts = urlsplit(text)
        return parts, parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidValueError(f"{shown(text)} is not a URL ({error})") from error


def url(value: object, schemes: Sequence[str]) -> SplitResult:
    """A URL with one of the schemes and no trailing slash: clients append paths to it, and '//' is a 404."""
    text = plain_text(value)
    if re.search(r"\s", text):
        raise InvalidValueError(f"{shown(text)} has white space in it")
    parts, host, _port = _split_url(text)
    faults = (
        (
            parts.scheme not in schemes,
            f"does not start with {' or '.join(f'{scheme}://' for scheme in schemes)}",
        ),
        (not host, "has no host name"),
        ("@" in parts.netloc, "has a user or password in it"),
        ("?" in text or "#" in text, "has a query or fragment"),
        (text.endswith("/"), "ends in a slash"),
        (parts.netloc != parts.netloc.lower(), "has upper-case letters in its host name"),
    )
    for is_so, what in faults:
        if is_so:
            raise InvalidValueError(f"{shown(text)} {what}")
    return parts


def public_url(value: object, schemes: Sequence[str]) -> SplitResult:
    """A URL that clients use: as url(), with a host name that a certificate can be for and a plain path."""
    parts = url(value, schemes)
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", parts.path):
        raise InvalidValueError(
            f"{shown(value)} has a path of more than letters, digits and . _ ~ - between slashes"
        )
    try:
        domain(parts.hostname or "")
    except InvalidValueError as error:
        raise InvalidValueError(f"{shown(value)}: its host {error}") from error
    return parts


# Ports and addresses -------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class PortRange:
    """Ports from first to last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: PortRange) -> bool:
        """At least one port is in both."""
        return self.first <= other.last and other.first <= self.last


def port(value: object, lowest: int = 1) -> int:
    """A port number."""
    number = integer(value)
    if not lowest <= number <= 65535:
        raise InvalidValueError(f"{shown(value)} is not a port number ({lowest} to 65535)")
    return number


def port_range(value: object) -> PortRange:
    """A port, or a range written a-b."""
    if isinstance(value, str) and "-" in value.strip().lstrip("-"):
        match = re.fullmatch(r"([0-9]+)-([0-9]+)", value)
        if not match:
            raise InvalidValueError(f"{shown(value)} is not a range of ports written a-b")
        first, last = port(match.group(1)), port(match.group(2))
        if first > last:
            raise InvalidValueError(f"{shown(value)} is reversed")
        return PortRange(first, last)
    number = port(value)
    return PortRange(number, number)


def network(value: object) -> str:
    """An IP address, or a network written address/length."""
    text = plain_text(value)
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidValueError(f"{shown(text)} is neither an IP address nor a network") from error
    return text


def prefix(value: object) -> str:
    """A network written address/length; a bare address is not enough."""
    text = network(value)
    if "/" not in text:
        raise InvalidValueError(f"{shown(text)} has no length, as in {text}/{ip_literal(text).max_prefixlen}")
    return text


def ip_literal(value: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IP address without brackets."""
    try:
        return ipaddress.ip_address(plain_text(value))
    except ValueError as error:
        raise InvalidValueError(f"{shown(value)} is not an IP address") from error


def media_address(value: object) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """LiveKit's node_ip: an address that clients can send to, or one of each family joined by a comma."""
    addresses = [ip_literal(part) for part in plain_text(value).split(",")]
    for address in addresses:
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            raise InvalidValueError(f"{shown(address)} is not an address that clients can reach")
    if len({address.version for address in addresses}) < len(addresses):
        raise InvalidValueError(f"{shown(value)} has two addresses of one family")
    return addresses


def host_and_port(value: object) -> str:
    """host or host:port, as LiveKit's stun_servers takes it."""
    text = plain_text(value)
    host, colon, number = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    if colon and not re.fullmatch(r"[0-9]+", number):
        raise InvalidValueError(f"{shown(text)} is not written host:port")
    if colon:
        port(number)
    if _address(host) is None:
        _refuse_more_than_a_name(host)
        _host_name(host, text)
    return text


# Secrets -------------------------------------------------------------------------------------------


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def api_secret(value: object) -> str:
    """The LiveKit API secret. No message shows any part of it."""
    secret = plain_text(value)
    if not re.fullmatch(r"[!-9;-~]+", secret):
        raise InvalidValueError(
            "has a colon, white space or a character outside ASCII in it, which the key files cannot carry"
        )
    bare = _letters_and_digits(secret)
    if bare in SAMPLE_SECRETS or any(word in bare for word in SAMPLE_WORDS):
        raise InvalidValueError("is a sample value, printed in a guide")
    if len(secret) < MINIMUM_SECRET_LENGTH:
        raise InvalidValueError(f"has {len(secret)} characters, fewer than {MINIMUM_SECRET_LENGTH}")
    if len(set(secret)) < MINIMUM_DISTINCT_CHARACTERS:
        raise InvalidValueError("repeats a few characters and can be guessed")
    return secret


def api_key(value: object) -> str:
    """The LiveKit API key, a name that is not secret."""
    key = plain_text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
        raise InvalidValueError(f"{shown(key)} has characters other than letters, digits, '.', '_' and '-'")
    if _letters_and_digits(key) in SAMPLE_KEYS:
        raise InvalidValueError(f"{shown(key)} is a sample value, printed in a guide")
    return key


def sha256(value: object) -> str:
    """A SHA-256 checksum as 64 hexadecimal digits."""
    text = plain_text(value)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise InvalidValueError(f"{shown(text)} is not a SHA-256 checksum (64 hexadecimal digits)")
    return text.lower()


def release_version(value: object) -> tuple[int, int, int]:
    """A release number X.Y.Z; a moving name such as 'latest' would make two runs differ."""
    text = str(value) if isinstance(value, (int, float)) else plain_text(value)
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)", text)
    if not match:
        raise InvalidValueError(f"{shown(text)} is not a release number X.Y.Z (no 'v' in front, no 'latest')")
    return int(match.group(1)), int(match.group(2)), int(match.group(3))


def duration(value: object) -> str:
    """A Synapse duration: a positive number of milliseconds, or a number with one of s, m, h, d, w, y."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain_text(value)
    match = re.fullmatch(r"([0-9]+)[smhdwy]?", text)
    if not match or int(match.group(1)) == 0:
        raise InvalidValueError(
            f"{shown(text)} is not a positive duration (a number and one of s, m, h, d, w, y)"
        )
    return text
