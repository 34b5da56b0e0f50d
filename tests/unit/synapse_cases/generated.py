"""Hypothesis strategies that write homeserver configurations the way people, tools and accidents write them.

The texts are put together line by line, so that every spelling of YAML that operators use turns up: most of
them are valid, some are not. Every comment is unique, so that a test can see that none is lost.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from .homeserver import SERVICE_URL

SCALARS = (
    "plain", "two words", "'it''s'", '"q\u00e9\n"', "12", "0x1F", "1_000", "yes", "~", "null", "2024-01-02",
    "1e3", ".inf", '"# no comment"', "a#b", "ключ", "🎉", '"a: b"', "http://a.test:1/?b=c", "!!str 5", "''",
    "-1", "'{'", "@user:lab.test", "a, b", "0o17", "08", "1:30", "%(app)s",
)  # fmt: skip
ODD_SCALARS = (
    "- ",
    "=",
    "<<",
    "|x",
    "*none",
    "@x",
    "`x`",
    "[a",
    '"open',
    "a: b",
    "!tag x",
    "{{ x }}",
    "${X}",
)
FLOWS = (
    "{}",
    "[]",
    "{a: 1, b: [x, y]}",
    "[1, {c: d}]",
    "{ a: 'x, y' , }",
    '{"a": true}',
    "[a, b,]",
    "{a, b}",
)
FOREIGN = (
    "email",
    "presence",
    "turn_uris",
    "caches",
    "zz_last",
    "'quoted key'",
    '"ключ"',
    "x-y",
    "? odd",
    "1",
)
TEXTS = (["one", "two"], ["# not a comment", "rc_message:"], ["", "after a blank", ""], ["  deeper", "back"])
LIMIT_VALUES = ("0.1", "0.5", "1", "7", "1000", "'3'", '"0.25"', "2.0", "1e1", "~", "yes", ".inf", ".nan")
DURATIONS = ("1h", "24h", "2d", "86400000", "'3w'", "~", "1000", '"24h"', "90m   ", "1d", "7200s", "1w")
NOTE = "# note-"


@dataclass
class Files:
    """A configuration on disk: the -c options, and the bytes of each file by relative path."""

    config: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


class Writer:
    """Writes one file. `draw` decides everything, so that Hypothesis can make a failure smaller."""

    def __init__(self, draw: Any, numbers: Any) -> None:
        self.draw = draw
        self.numbers = numbers
        self.step = self.pick(2, 2, 4, 3)
        self.list_offset = self.pick(0, self.step)
        self.anchors: list[str] = []

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def seldom(self) -> bool:
        return bool(self.draw(st.integers(0, 19)) == 13)

    def note(self) -> str:
        return f"{NOTE}{next(self.numbers)};"

    def gap(self, indent: int = 0) -> list[str]:
        """Blank lines, comments and commented-out examples between two entries."""
        kind = self.pick(*[""] * 6, "blank", "note", "example", "both")
        pad = " " * self.pick(0, indent, indent, indent + 1)
        return {
            "": [],
            "blank": [self.pick("", "", "   ")],
            "note": [pad + self.note()],
            "example": [f"{pad}#rc_message: {self.note()}", f"{pad}#  per_second: 9"],
            "both": ["", pad + self.note(), ""],
        }[kind]

    def tail(self) -> str:
        """What stands behind a value on its line."""
        return self.pick("", "", "", "", "  ", f" {self.note()}", f"   {self.note()}")

    # values of the operator's

    def foreign(self, indent: int, depth: int = 0) -> tuple[str, list[str]]:
        """What stands behind the colon, and the lines below it."""
        kind = self.pick("scalar", "scalar", "flow", "text", "block", "list", "null", "lines", "shared")
        inner = " " * (indent + self.step)
        if kind == "shared" and self.anchors and self.pick(True, False):
            return f" *{self.pick(*self.anchors)}", []
        if kind == "shared":
            self.anchors.append(f"a{next(self.numbers)}")
            return f" &{self.anchors[-1]} {self.pick('x', '{a: 1}', '[1]')}", []
        if kind == "text":
            lines = [inner + line if line else "" for line in self.pick(*TEXTS)]
            return f" {self.pick('|', '|-', '|+', '>', '>-')}{self.pick('', '', '  # a')}", lines
        if kind == "lines":
            first, second = self.pick(("one", "two"), ('"one', 'two"'), ("[1,", "2]"), ("{a: 1,", "b: 2}"))
            return f" {first}", [inner + second]
        if kind == "flow":
            return f" {self.pick(*FLOWS)}{self.tail()}", []
        if kind == "null" or depth > 2:
            return self.pick("", "  ", f" {self.note()}"), []
        if kind == "block":
            names = [f"k{number}" for number in range(self.pick(1, 2, 3))] + self.pick([], [], [], ["k0"])
            return self.tail(), [
                line for name in names for line in self.entry(name, indent + self.step, depth + 1)
            ]
        if kind == "list":
            pad = " " * (indent + self.list_offset)
            return "", [f"{pad}- {self.pick(*SCALARS, *FLOWS, 'a: 1')}{self.tail()}" for _ in range(2)]
        scalars = ODD_SCALARS if self.seldom() else SCALARS
        return f" {self.pick(*scalars)}{self.tail()}", []

    def entry(self, name: str, indent: int, depth: int = 0) -> list[str]:
        """One key of the operator's with its value, on as many lines as it takes."""
        behind, below = self.foreign(indent, depth)
        return [*self.gap(indent), f"{' ' * indent}{name}:{behind}", *below]

    # sections that our settings go into

    def section(self, key: str, indent: int) -> list[str]:
        """One of our sections as an operator may have it."""
        name = self.pick(key, key, key, f"'{key}'", f'"{key}"', f"{key} ")
        pad = " " * indent
        if key == "max_event_delay_duration":
            value = "24hours" if self.seldom() else self.pick(*DURATIONS)
            return [f"{pad}{name}: {value}{self.tail()}"]
        kind = self.pick("block", "block", "block", "flow", "flow lines", "empty", "odd")
        if kind == "empty":
            return [f"{pad}{name}:{self.pick('', ' ', ' {}', ' ~', ' null')}{self.tail()}"]
        if kind == "odd" and self.seldom():
            return self.entry(name, indent)
        anchor = " &shared" if self.seldom() else ""
        pairs = self.pairs(key)
        if kind == "flow":
            return [f"{pad}{name}:{anchor} {{{', '.join(f'{k}: {v}' for k, v in pairs)}}}{self.tail()}"]
        if kind == "flow lines":
            inner = pad + " " * self.step
            body = [f"{inner}{k}: {v},{self.tail()}" for k, v in pairs]
            return [f"{pad}{name}:{anchor} {{", *body, f"{inner}}}{self.tail()}"]
        lines = [f"{pad}{name}:{anchor}{self.tail() if not anchor else ''}"]
        for k, v in pairs:
            lines += [*self.gap(indent + self.step), f"{pad}{' ' * self.step}{k}: {v}{self.tail()}"]
        if key == "matrix_rtc" and self.pick(True, False):
            lines += self.transports(indent + self.step)
        if self.pick(False, False, True):
            lines += self.entry("extra", indent + self.step)
        return lines if len(lines) > 1 else [f"{lines[0]} "]

    def pairs(self, key: str) -> list[tuple[str, str]]:
        """Keys of one of our sections with values that can stand in flow style."""
        values: dict[str, tuple[str, ...]] = {
            "experimental_features": ("true", "false", "no", "'yes'", "1"),
            "matrix_rtc": ("[]", "~", f"[{{type: livekit, livekit_service_url: '{SERVICE_URL}', x: 1}}]"),
            "extra_well_known_client_content": ("{a: b}", "1"),
        }
        names = {
            "experimental_features": ("msc4222_enabled", "msc4143_enabled", "msc3881_enabled"),
            "matrix_rtc": ("transports", "other"),
            "extra_well_known_client_content": ("io.element.e2ee", "org.matrix.msc4143.rtc_foci"),
        }.get(key, ("per_second", "burst_count", "more"))
        chosen = [name for name in names if self.pick(True, True, False)]
        if self.seldom() and chosen:
            chosen.append(chosen[0])  # the same key a second time
        texts = values.get(key, LIMIT_VALUES)
        quoted = self.pick("{}", "{}", "'{}'", '"{}"')
        found = [(quoted.format(name), self.pick(*texts)) for name in chosen]
        if key == "extra_well_known_client_content":
            found = [(name, "[]" if "foci" in name else value) for name, value in found]
        if key == "matrix_rtc":
            found = [(name, value if "transports" in name else "1") for name, value in found]
        return found

    def transports(self, indent: int) -> list[str]:
        """A block list of transports, of which one may be ours."""
        dash = indent + self.list_offset
        lines = [f"{' ' * indent}transports:"]
        for url in self.pick([SERVICE_URL], ["https://o.test/x"], ["https://o.test/x", SERVICE_URL], ["'a'"]):
            lines += [
                f"{' ' * dash}- type: livekit{self.tail()}",
                *self.gap(dash),
                f"{' ' * (dash + 2)}livekit_service_url: {url}{self.tail()}",
            ]
        return lines

    # whole files

    def file(self, keys: list[str]) -> bytes:
        """A file with some of our sections among the operator's."""
        indent = 2 if self.seldom() else 0
        theirs = self.draw(st.lists(st.sampled_from(FOREIGN), max_size=4, unique=True))
        if self.seldom() and theirs:
            theirs.append(theirs[0])
        blocks = [(False, name) for name in theirs] + [(True, key) for key in keys]
        lines = [f"%YAML 1.1{self.tail()}", "---"] if self.seldom() else self.pick([], [], [], ["---"])
        for ours, name in self.draw(st.permutations(blocks)):
            lines += self.gap(indent)
            lines += self.section(name, indent) if ours else self.entry(name, indent)
        lines += self.gap(indent)
        if self.seldom():
            lines += ["...", self.note()]
        text = "\n".join(lines) + self.pick("\n", "\n", "\n", "", "\n\n", " ", f"\n{self.note()}")
        if self.seldom():
            text = "\ufeff" + text
        if self.pick(True, False, False, False, False):
            text = text.replace("\n", "\r\n")
        return text.encode()


@st.composite
def configurations(draw: Any) -> Files:
    """One to three files, in a directory or not."""
    numbers = itertools.count()
    layout = draw(
        st.sampled_from(["a.yaml", "a.yaml", "a.yaml b.yaml", "a.yaml d/", "d/", "a.yaml d/ b.yaml"])
    )
    ours = ("experimental_features", "rc_message", "rc_delayed_event_mgmt", "matrix_rtc",
            "max_event_delay_duration", "extra_well_known_client_content")  # fmt: skip
    files = Files(["base.yaml", *layout.split()])
    for option in layout.split():
        inside = (
            draw(st.sampled_from([["d/1.yaml"], ["d/1.yaml", "d/2.yaml"]])) if option == "d/" else [option]
        )
        for path in inside:
            keys = draw(st.lists(st.sampled_from(ours), max_size=4, unique=draw(st.integers(0, 19)) != 13))
            files.contents[path] = Writer(draw, numbers).file(keys)
    return files
