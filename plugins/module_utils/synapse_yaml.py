# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Changing values in a YAML text by the smallest edit, so that everything else keeps every byte.

PyYAML says where each key and value stands; the edits are made in the text itself. Whatever cannot be changed
without touching somebody else's lines (anchors, aliases, duplicate keys) is refused with its line.

Needs PyYAML, which is always present in Synapse's own Python environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

try:
    import yaml
except ImportError:  # the module reports it: a host's system Python often has no PyYAML
    HAS_YAML = False
else:
    HAS_YAML = True

Identity = Callable[[Any], Any]

# There is no such value; as a wanted one: there is to be none.
MISSING = object()


class YamlError(Exception):
    """The text is not one YAML document. `line` counts from 1; the message quotes nothing from the text."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class EditError(Exception):
    """The wanted change cannot be made without touching more than it.

    `line` counts from 1; `key` is the top-level key, empty when it is not about one.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line
        self.key = ""


@dataclass(frozen=True)
class Edit:
    """Replace text[start:end] by `text`.

    `flow`: inside [] or {}, where a line can hold foreign values. `label`: what to say before them then.
    """

    start: int
    end: int
    text: str
    flow: bool = False
    label: str = ""


@dataclass(frozen=True)
class Style:
    """How the file writes its YAML: line end, columns per level, columns of a list below its key, JSON."""

    eol: str = "\n"
    step: int = 2
    list_offset: int = 2
    json: bool = False


@dataclass
class Document:
    """A parsed text. `data` is None when the text holds no mapping: Synapse ignores such a file."""

    text: str
    data: dict[str, Any] | None
    root: Any  # yaml.MappingNode, or None like data
    is_blank: bool
    style: Style = field(default_factory=Style)
    # Where anchors, aliases and explicit tags stand.
    shared: tuple[int, ...] = ()


def parse(text: str) -> Document:
    """Read one YAML document the way Synapse does (safe_load). Raises YamlError."""
    try:
        root, shared, data = _load(text)
    except yaml.MarkedYAMLError as error:
        # str(error) would quote the line, which may hold a secret.
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or error.context or "not YAML", mark.line + 1 if mark else 1) from None
    except (yaml.YAMLError, ValueError) as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise YamlError("a character or value that YAML does not allow", line) from None
    if not isinstance(data, dict):
        return Document(text, None, None, is_blank=data is None and root is None)
    return Document(text, data, root, False, _style(text, root), shared)


def change(
    text: str, wanted: Mapping[str, Any], identity: Identity, comment: str = ""
) -> tuple[str, list[Edit]]:
    """The text with each top-level key of `wanted` at its value, and the edits that lead there.

    A value of `MISSING` takes the key out. List items with the same `identity` are the same item. Keys that
    are new to the file come last, below `comment`. Raises YamlError and EditError.
    """
    document = parse(text)
    editor = _Editor(document, identity)
    edits: list[Edit] = []
    new: dict[str, Any] = {}
    removed: list[int] = []
    for key, value in wanted.items():
        current = (document.data or {}).get(key, MISSING)
        if value is current or value == current:
            continue
        if current is MISSING:
            new[key] = value
            continue
        try:
            index = _section(document, key)
            if value is MISSING:
                removed.append(index)
            else:
                key_node, node = document.root.value[index]
                edits += editor.set_value(key_node, node, current, value, bool(document.root.flow_style))
        except EditError as error:
            error.key = key
            raise
    if removed:
        edits += editor.remove(document.root, sorted(removed))
    if new:
        edits += _append(editor, new, comment)
    return apply_edits(text, edits), edits


def locate(document: Document, path: Sequence[Any]) -> int:
    """The line where the innermost key of a path stands, as far as the path is there; else the first line."""
    node, line = document.root, 1
    for step in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(key, value) for key, value in pairs if key.value == step]
        if not found:
            break
        line, node = found[-1][0].start_mark.line + 1, found[-1][1]
    return line


def scalars(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], yaml.ScalarNode]]:
    """All scalar values below a node, with the keys that lead there."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from scalars(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars(item, path)
    elif node is not None:
        yield path, node


def duplicates(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, int, int]]:
    """Keys that stand twice in one mapping: their names, the line where that shows, the line of the first."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from duplicates(item, path)
    elif isinstance(node, yaml.MappingNode):
        first: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if first.setdefault((key.tag, key.value), line) != line:
                    name = ".".join(str(step) for step in (*path, key.value))
                    yield name, line, first[key.tag, key.value]
                yield from duplicates(value, (*path, key.value))


def apply_edits(text: str, edits: list[Edit]) -> str:
    """The text after all edits, whose positions refer to the text before. Raises EditError on an overlap."""
    pieces = []
    position = 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if edit.start < position:
            raise EditError("two changes meet on the same text", line_of(text, edit.start))
        pieces += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*pieces, text[position:]])


def preview(text: str, edits: Sequence[Edit]) -> list[str]:
    """The edits as hunks of a diff: the edited lines alone, and of those no values that belong to others."""
    lines: list[str] = []
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if edit.text == ",":
            continue
        lines.append(f"@@ line {line_of(text, edit.start)} @@")
        removed, added = _hunk(text, edit)
        lines += ["-" + line for line in removed.splitlines()]
        lines += ["+" + line for line in added.splitlines()]
    return lines


def _hunk(text: str, edit: Edit) -> tuple[str, str]:
    line_start = text.rfind("\n", 0, edit.start) + 1
    removed = text[edit.start : edit.end]
    text_added = edit.text.lstrip(",")
    if edit.flow and not text_added.startswith(("\n", "\r")):  # the rest of the line is somebody else's
        opening = re.match(r"[^{\[]*[{\[]", text[line_start : edit.start])
        head = f"{opening.group() if opening else ''}… {edit.label}"
        return (f"{head}{removed} …" if removed else ""), f"{head}{edit.text.strip(' ,')} …"
    if edit.start == line_start or text_added.startswith(("\n", "\r")):  # whole lines
        return removed, text_added.lstrip("\r\n")
    line_end = text.find("\n", edit.end)
    rest = text[edit.end : line_end if line_end >= 0 else len(text)]
    head = text[line_start : edit.start]
    return head + removed + rest, head + edit.text + rest


def constant(name: str) -> float:
    """What JSON calls NaN or Infinity, as the loader reads it: the same object."""
    value: float = yaml.SafeLoader.nan_value if name == "NaN" else float(name)
    return value


def line_of(text: str, position: int) -> int:
    """The number of the line that holds the position, counted from 1."""
    return text.count("\n", 0, position) + 1


def render(values: Mapping[str, Any], style: Style | None = None, indent: int = 0) -> list[str]:
    """Lines of block YAML for a mapping, without line ends."""
    chosen = style or Style()
    lines = []
    for key, value in values.items():
        pad = " " * indent + scalar(key)
        if isinstance(value, dict) and value:
            lines += [f"{pad}:", *render(value, chosen, indent + chosen.step)]
        elif isinstance(value, list) and value:
            lines += [f"{pad}:", *_render_list(value, chosen, indent + chosen.list_offset)]
        else:
            lines.append(f"{pad}: {flow(value) if isinstance(value, (dict, list)) else scalar(value)}")
    return lines


def flow(value: Any, style: Style | None = None) -> str:
    """One line of flow YAML (or of JSON in a file that is JSON) for any value."""
    if style is not None and style.json:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key, True)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value, isinstance(value, str))


def scalar(value: Any, in_flow: bool = False) -> str:
    """One scalar on one line, quoted only where YAML needs it (more often inside flow collections)."""
    style = '"' if isinstance(value, str) and re.search(r"[\n\r\x85\u2028\u2029]", value) else None
    wrapped = [value] if in_flow else value
    text: str = yaml.safe_dump(
        wrapped, default_flow_style=True, default_style=style, allow_unicode=True, width=1 << 30
    )
    text = text.strip("\n")
    if in_flow:
        return text[1:-1]
    return text[: -len("\n...")] if text.endswith("\n...") else text


# Reading ---------------------------------------------------------------------------------------------


def _load(text: str) -> tuple[Any, tuple[int, ...], Any]:
    """The node tree of a text, the places of its anchors, aliases and explicit tags, and its data."""
    shared: list[int] = []
    loader: Any = yaml.SafeLoader(text)
    next_event = loader.get_event

    def get_event() -> Any:
        event = next_event()
        if (
            isinstance(event, yaml.AliasEvent)
            or getattr(event, "anchor", None)
            or getattr(event, "tag", None)
        ):
            shared.append(event.start_mark.index)
        return event

    loader.get_event = get_event
    root = loader.get_single_node()
    # Constructing resolves merge keys in the nodes themselves, so the tree to edit must be another one.
    constructed = yaml.compose(text, Loader=yaml.SafeLoader) if "<<" in text else root
    data = loader.construct_document(constructed) if root is not None else None
    return root, tuple(shared), data


def _style(text: str, root: yaml.MappingNode) -> Style:
    first_line = text.split("\n", 1)[0]
    eol = "\r\n" if first_line.endswith("\r") else "\n"
    if root.flow_style:
        return Style(eol=eol, json=root.value[0][0].style == '"' if root.value else False)
    step = next((inner for inner in _offsets(root, yaml.MappingNode) if inner > 0), 2)
    return Style(eol, step, next(_offsets(root, yaml.SequenceNode), step))


def _offsets(node: yaml.Node, kind: type[yaml.CollectionNode]) -> Iterator[int]:
    """By how many columns block collections of the kind stand to the right of their keys."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _offsets(item, kind)
        return
    for key, value in node.value:
        if isinstance(value, kind) and not value.flow_style and value.start_mark.line > key.start_mark.line:
            yield value.start_mark.column - key.start_mark.column
        yield from _offsets(value, kind)


def _same(one: Any, other: Any) -> bool:
    return one is other or bool(one == other)  # the loader's .nan is one object, and equal to nothing


# Planning --------------------------------------------------------------------------------------------


def _section(document: Document, key: str) -> int:
    """The index of a top-level key whose section can be edited on its own."""
    entries = document.root.value
    index = _find(document, document.root, key)
    end = entries[index + 1][0].start_mark.index if index + 1 < len(entries) else len(document.text)
    _refuse_shared(document, key, entries[index][0].start_mark.index, end)
    return index


def _find(document: Document, mapping: yaml.MappingNode, key: str) -> int:
    places = [index for index, pair in enumerate(mapping.value) if pair[0].value == key]
    if not places:
        line = mapping.start_mark.line + 1
        raise EditError(f"'{key}' comes from a merge key (<<), which other sections share", line)
    if len(places) > 1:
        line = mapping.value[places[1]][0].start_mark.line + 1
        raise EditError(f"'{key}' stands here a second time, and only the last one counts", line)
    return places[0]


def _refuse_shared(document: Document, key: str, start: int, end: int) -> None:
    for position in document.shared:
        if start <= position < end:
            raise EditError(f"'{key}' uses an anchor, an alias or a tag", line_of(document.text, position))


def _append(editor: _Editor, new: dict[str, Any], comment: str) -> list[Edit]:
    """The edits that add keys to the top level of the file."""
    document, text, style = editor.document, editor.text, editor.style
    if document.root is None and not document.is_blank:
        raise EditError("the file is not a mapping of settings", 1)
    if document.root is not None and document.root.flow_style:
        return editor.insert_pairs(document.root, new)
    column = document.root.value[0][0].start_mark.column if document.root is not None else 0
    lines = [" " * column + f"# {comment}"] if comment else []
    lines += render(new, style, column)
    end = _end_of_document(text, document.root)
    before = text[:end]
    if before and not before.endswith("\n"):
        return [Edit(end, end, style.eol * 2 + style.eol.join(lines))]
    is_apart = before.endswith(style.eol * 2) or _keeps_blank_lines(text, document.root)
    # what comes later joins the others of ours, so that nothing stays when it goes again
    is_first = bool(comment) or document.root is None
    gap = style.eol if before and is_first and not is_apart else ""
    return [Edit(end, end, gap + "".join(line + style.eol for line in lines))]


def _end_of_document(text: str, root: yaml.MappingNode | None) -> int:
    """Where the document ends: before an explicit end marker, else at the end of the file."""
    start = _content_end(root) if root is not None else 0
    marker = re.compile(r"^\.\.\.(?=\s|$)", re.MULTILINE).search(text, start)
    return marker.start() if marker else len(text)


def _content_end(node: yaml.Node) -> int:
    """The position after the last character of a value, without the comments and blank lines below it."""
    return int(_last_leaf(node).end_mark.index)


def _last_leaf(node: yaml.Node) -> yaml.Node:
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return node


def _keeps_blank_lines(text: str, root: yaml.MappingNode | None) -> bool:
    """Whether the document ends in a block of text to which blank lines below it belong (|+ or >+)."""
    start = _last_leaf(root).start_mark.index if root is not None else len(text)
    return bool(re.compile(r"[|>]\d?\+").match(text, start))


def _render_list(items: list[Any], style: Style, indent: int, inner: int = 2) -> list[str]:
    """Lines of a block list whose dashes stand at `indent`, and its mappings `inner` columns further."""
    lines = []
    for item in items:
        if isinstance(item, dict) and item:
            first, *others = render(item, style, indent + inner)
            lines += [" " * indent + "-" + first[indent + 1 :], *others]
        else:
            lines.append(
                " " * indent + "- " + (flow(item) if isinstance(item, (dict, list)) else scalar(item))
            )
    return lines


class _Editor:
    """Plans edits of one document. Every method returns edits against the original text."""

    def __init__(self, document: Document, identity: Identity) -> None:
        self.document = document
        self.text = document.text
        self.style = document.style
        self.identity = identity

    def set_value(self, key: yaml.Node, node: yaml.Node, old: Any, new: Any, in_flow: bool) -> list[Edit]:
        """Bring the value of a key from `old` to `new`. `in_flow`: the key stands in a flow mapping."""
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict) and old and new:
            return self._set_mapping(node, old, new)
        if isinstance(node, yaml.SequenceNode) and isinstance(new, list) and old and new:
            return self._set_sequence(node, old, new)
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            return self._empty(key, node, new)
        return [self._replace(key, node, new, in_flow)]

    def insert_pairs(self, mapping: yaml.MappingNode, new: Mapping[str, Any]) -> list[Edit]:
        """Add keys at the end of a mapping."""
        if mapping.flow_style:
            pairs = [f"{flow(key, self.style)}: {flow(value, self.style)}" for key, value in new.items()]
            return self._insert_flow(mapping, pairs)
        column = mapping.value[0][0].start_mark.column
        return [self._insert_lines(_content_end(mapping), render(new, self.style, column))]

    def remove(self, node: yaml.CollectionNode, indices: list[int]) -> list[Edit]:
        """Take entries out of a mapping or a list, of which others may stay."""
        if not indices:
            return []
        spans = [self._span(node, entry) for entry in node.value]
        if node.flow_style:
            return self._remove_flow(spans, indices)
        return [self._remove_lines(*spans[index]) for index in indices]

    def _set_mapping(self, node: yaml.MappingNode, old: dict[str, Any], new: dict[str, Any]) -> list[Edit]:
        if node.flow_style and not any(name in new for name in old):
            return [self._replace_flow(node, new)]
        edits: list[Edit] = []
        removed = []
        for name in [name for name in old if name not in new or not _same(new[name], old[name])]:
            index = _find(self.document, node, name)
            if name in new:
                key, value = node.value[index]
                edits += self.set_value(key, value, old[name], new[name], bool(node.flow_style))
            else:
                removed.append(index)
        edits += self.remove(node, sorted(removed))
        added = {name: value for name, value in new.items() if name not in old}
        return [*edits, *self.insert_pairs(node, added)] if added else edits

    def _set_sequence(self, node: yaml.SequenceNode, old: list[Any], new: list[Any]) -> list[Edit]:
        """Items keep their order: some of the old ones, changed or not, then the added ones."""
        edits: list[Edit] = []
        removed = []
        rest = list(new)
        for index, item in enumerate(old):
            if not rest or self.identity(rest[0]) != self.identity(item):
                removed.append(index)
                continue
            wanted = rest.pop(0)
            if wanted != item:
                edits += self._set_mapping(node.value[index], item, wanted)
        if node.flow_style and len(removed) == len(old):
            return [self._replace_flow(node, new)]
        edits += self.remove(node, removed)
        return [*edits, *self._insert_items(node, rest)] if rest else edits

    def _replace_flow(self, node: yaml.CollectionNode, new: Any) -> Edit:
        return Edit(node.start_mark.index, node.end_mark.index, flow(new, self.style), flow=True)

    def _insert_items(self, node: yaml.SequenceNode, items: list[Any]) -> list[Edit]:
        if node.flow_style:
            return self._insert_flow(node, [flow(item, self.style) for item in items])
        column, last = node.start_mark.column, node.value[-1].start_mark
        is_block = isinstance(node.value[-1], yaml.MappingNode) and not node.value[-1].flow_style
        lines = _render_list(items, self.style, column, last.column - column if is_block else 2)
        return [self._insert_lines(_content_end(node), lines)]

    def _replace(self, key: yaml.Node, node: yaml.Node, new: Any, in_flow: bool) -> Edit:
        """Write another value in the place of one that stands on the key's own line."""
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            raise EditError(f"'{key.value}' is a block of text", node.start_mark.line + 1)
        start, end = node.start_mark.index, _content_end(node)
        is_collection = isinstance(new, (dict, list))
        if start == end and new and is_collection and not in_flow:
            return self._insert_lines(end, self._below(key, new))
        gap = " " if start == end else ""
        inline = flow(new, self.style) if in_flow or is_collection else scalar(new)
        return Edit(start, end, gap + inline, in_flow, f"{key.value}: " if in_flow else "")

    def _empty(self, key: yaml.Node, node: yaml.CollectionNode, new: Any) -> list[Edit]:
        """Write `new` behind the key and take the lines of the block collection below it away."""
        colon = self.text.index(":", key.end_mark.index) + 1
        return [
            Edit(colon, colon, " " + flow(new, self.style)),
            *self.remove(node, list(range(len(node.value)))),
        ]

    def _below(self, key: yaml.Node, value: Any) -> list[str]:
        column = key.start_mark.column
        if isinstance(value, dict):
            return render(value, self.style, column + self.style.step)
        return _render_list(value, self.style, column + self.style.list_offset)

    def _span(self, node: yaml.CollectionNode, entry: Any) -> tuple[int, int]:
        """Where an entry of a collection begins (at its dash in a block list) and its value ends."""
        if isinstance(node, yaml.MappingNode):
            return entry[0].start_mark.index, _content_end(entry[1])
        start = entry.start_mark.index
        return start if node.flow_style else self.text.rindex("-", 0, start), _content_end(entry)

    def _next_line(self, position: int) -> int:
        """Where the line after the one with a value's end begins (a block of text ends there already)."""
        if position and self.text[position - 1] == "\n":
            return position
        newline = self.text.find("\n", position)
        return newline + 1 if newline >= 0 else len(self.text)

    def _insert_lines(self, content_end: int, lines: list[str]) -> Edit:
        eol = self.style.eol
        position = self._next_line(content_end)
        if position and self.text[position - 1] != "\n":  # the last line has no line end, and keeps none
            return Edit(position, position, "".join(eol + line for line in lines))
        return Edit(position, position, "".join(line + eol for line in lines))

    def _remove_lines(self, start: int, end: int) -> Edit:
        line_start = self.text.rfind("\n", 0, start) + 1
        if self.text[line_start:start].strip(" "):
            raise EditError("something else stands on the same line", line_of(self.text, start))
        return Edit(line_start, self._next_line(end), "")

    def _insert_flow(self, node: yaml.CollectionNode, entries: list[str]) -> list[Edit]:
        closing = node.end_mark.index - 1
        if not node.value:
            return [Edit(node.start_mark.index + 1, closing, ", ".join(entries), flow=True)]
        start, end = self._span(node, node.value[-1])
        indent = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        gap = " " if indent.strip() else self.style.eol + indent
        comma = self._comma(end, closing)
        added = gap + ("," + gap).join(entries)
        position = end if comma is None else comma + 1
        rest = re.compile(r"[^\r\n]*").match(self.text, position, closing)
        if gap != " " and rest and position < rest.end() < closing:  # its comment stays on the line before
            separator = [Edit(end, end, ",", flow=True)] if comma is None else []
            return [*separator, Edit(rest.end(), rest.end(), added, flow=True)]
        return [Edit(position, position, added if comma is not None else "," + added, flow=True)]

    def _remove_flow(self, spans: list[tuple[int, int]], indices: list[int]) -> list[Edit]:
        """Take entries out of a flow collection, each with the comma between it and one that stays."""
        edits = []
        kept = [index for index in range(len(spans)) if index not in indices]
        last = kept[-1] if kept else -1
        for index in indices:
            if index < last:
                edits.append(Edit(spans[index][0], spans[index + 1][0], "", flow=True))
        if last + 1 < len(spans):  # the end of the list goes
            start, end = spans[last + 1][0], spans[-1][1]
            comma = self._comma(spans[last][1], start) if kept else None
            if comma is not None and not self.text[comma + 1 : start].strip(" "):
                start = comma
            elif comma is not None:  # a comment stands between the two: it stays
                edits.append(Edit(comma, comma + 1, "", flow=True))
            edits.append(Edit(start, end, "", flow=True))
        return edits

    def _comma(self, start: int, end: int) -> int | None:
        """The position of the comma between two places of a flow collection, past comments."""
        for match in re.finditer(r"#[^\n]*|,", self.text[start:end]):
            if match.group() == ",":
                return start + match.start()
        return None
