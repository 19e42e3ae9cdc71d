"""Reads Bicep: what a file declares, and the syntax tree of each declaration. Files can be patched in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from posixpath import dirname, join, normpath

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).resolve().parents[2]
_PARSER = Parser(Language(tree_sitter_bicep.language()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A declared name, and the expression or type after it."""

    name: str
    node: Node
    """The whole declaration."""
    body: Node | None = None
    type_node: Node | None = None
    target: str = ""
    """The type and version of a resource, or the path of a module."""
    is_existing: bool = False
    decorators: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    """The arguments of each decorator."""

    @property
    def line(self) -> int:
        return self.node.start_point.row + 1


@dataclass(frozen=True, kw_only=True)
class BicepFile:
    """The declarations of a file, by kind and name."""

    path: str
    root: Node
    target_scope: str = "resourceGroup"
    parameters: dict[str, Declaration] = field(default_factory=dict)
    variables: dict[str, Declaration] = field(default_factory=dict)
    functions: dict[str, Declaration] = field(default_factory=dict)
    types: dict[str, Declaration] = field(default_factory=dict)
    resources: dict[str, Declaration] = field(default_factory=dict)
    modules: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Declaration] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    """The path of the file from which each name is imported."""

    @cached_property
    def broken(self) -> list[Node]:
        """The nodes that the grammar does not understand."""
        return [node for node in descendants(self.root) if node.type == "ERROR" or node.is_missing]

    def beside(self, path: str) -> str:
        """Return a path of this file, such as that of a module, as one from the root of the repository."""
        return normpath(join(dirname(self.path), path))


_KINDS = {
    "parameter_declaration": "parameters",
    "variable_declaration": "variables",
    "user_defined_function": "functions",
    "type_declaration": "types",
    "resource_declaration": "resources",
    "module_declaration": "modules",
    "output_declaration": "outputs",
}


class BicepSources:
    """The files under the root of the repository, each with its text or with that of a patch."""

    def __init__(self, patched: Mapping[str, str] | None = None) -> None:
        self._patched = dict(patched or {})
        self._read: dict[str, BicepFile] = {}

    def text(self, path: str) -> str:
        return self._patched.get(path) or (ROOT / path).read_text()

    def exists(self, path: str) -> bool:
        return path in self._patched or (ROOT / path).is_file()

    def file(self, path: str) -> BicepFile:
        if path not in self._read:
            self._read[path] = _read(path, self.text(path))
        return self._read[path]

    def reachable(self, path: str) -> list[BicepFile]:
        """Return a file and all that it uses as modules or imports from, each once."""
        found: dict[str, BicepFile] = {}
        waiting = [path]
        while waiting:
            current = waiting.pop()
            if current not in found and self.exists(current):
                file = found[current] = self.file(current)
                waiting += [file.beside(module.target) for module in file.modules.values()]
                waiting += file.imports.values()
        return list(found.values())


def text_of(node: Node | None) -> str:
    return (node.text or b"").decode() if node else ""


def descendants(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from descendants(child)


def named(node: Node) -> list[Node]:
    """Return the children that mean something."""
    return [child for child in node.named_children if "comment" not in child.type]


def literal(node: Node | None) -> str | None:
    """Return the value of a string without interpolation; `None` for anything else."""
    if node is None or node.type != "string":
        return None
    parts = []
    for child in named(node):
        if child.type not in ("string_content", "escape_sequence"):
            return None
        parts.append(unescaped(child))
    return "".join(parts)


def unescaped(part: Node) -> str:
    """Return the text of a part of a string."""
    text = text_of(part)
    return {"\\n": "\n", "\\r": "\r", "\\t": "\t"}.get(text, text[1:]) if part.type == "escape_sequence" else text


def properties(node: Node) -> dict[str, Node]:
    """Return the values of an object by name. A name with interpolation is left as it is written."""
    found = {}
    for item in named(node):
        if item.type == "object_property" and len(named(item)) > 1:
            key, value = named(item)[0], named(item)[-1]
            found[literal(key) or text_of(key)] = value
    return found


def object_of(node: Node | None) -> Node | None:
    """Return the object of a resource or module, behind its loop and its condition."""
    while node is not None and node.type in ("for_statement", "if_statement", "parenthesized_expression"):
        node = node.child_by_field_name("body") or named(node)[-1]
    return node if node is not None and node.type == "object" else None


def _read(path: str, text: str) -> BicepFile:
    root = _PARSER.parse(text.encode()).root_node
    scope = next((literal(named(node)[-1]) for node in named(root) if node.type == "target_scope_assignment"), None)
    file = BicepFile(path=path, root=root, target_scope=scope or "resourceGroup")
    decorators: list[Node] = []
    for node in named(root):
        if node.type == "decorators":
            decorators = named(node)
        elif node.type == "import_functionality":
            names = [text_of(child) for child in named(node) if child.type == "identifier"]
            file.imports.update(dict.fromkeys(names, file.beside(literal(named(node)[-1]) or "")))
        elif node.type in _KINDS:
            declared = _declaration(node, decorators)
            getattr(file, _KINDS[node.type])[declared.name] = declared
            decorators = []
    return file


def _declaration(node: Node, decorators: list[Node]) -> Declaration:
    children = named(node)
    name = next(child for child in children if child.type == "identifier")
    after = [child for child in children if child.start_byte > name.end_byte]
    type_node = next((child for child in after if child.type == "type"), None)
    is_target = node.type in ("resource_declaration", "module_declaration")
    values = [child for child in after if child.type not in ("type", "existing", "parameters")]
    body = values[-1] if len(values) > int(is_target) else None
    return Declaration(
        name=text_of(name),
        node=node,
        body=body,
        type_node=type_node if node.type != "type_declaration" else body,
        target=(literal(values[0]) or "") if is_target else "",
        is_existing=any(text_of(child) == "existing" for child in node.children),
        decorators={text_of(call.child_by_field_name("function")): _arguments(call) for call in _calls(decorators)},
    )


def _calls(decorators: list[Node]) -> list[Node]:
    return [named(each)[0] for each in decorators]


def _arguments(call: Node) -> tuple[Node, ...]:
    arguments = call.child_by_field_name("arguments")
    return tuple(named(arguments)) if arguments else ()


def used_names(node: Node) -> Iterator[str]:
    """Yield the names that a node uses. Names of declarations and of properties are none."""
    children = named(node)
    if node.type.endswith("_declaration") or node.type == "user_defined_function":
        children = children[1:]
    elif node.type == "object_property":
        children = [child for child in children[:-1] if child.type == "string"] + children[-1:]
    elif node.type == "import_functionality":
        children = []
    if node.type == "identifier":
        yield text_of(node)
    for child in children:
        yield from used_names(child)
