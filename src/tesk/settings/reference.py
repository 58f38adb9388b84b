"""Every setting as a row: key, variable, type, default, description. The docs, the loader and `tesk config` read it."""

import json
from collections.abc import Iterator
from functools import cache

import msgspec.inspect as shape
from msgspec import NODEFAULT, Struct

from tesk.settings.storage import FileRoot
from tesk.settings.tree import Settings


class Setting(Struct, frozen=True, kw_only=True):
    """One thing that can be set.

    `key` is its place in the file (`storage.file_roots`), `variable` its name in the environment, `type` and `default`
    are words for people. `columns` are the keys of each table, where the setting is a list of tables.
    """

    key: str
    variable: str
    type: str
    default: str
    description: str
    separator: str
    """Parts the elements in a variable; "" where the setting is no list of words."""
    columns: tuple["Setting", ...] = ()
    secret: bool = False


@cache
def reference() -> tuple[Setting, ...]:
    """Return all settings, in the order of the tree."""
    return tuple(_walk(shape.type_info(Settings), ""))


def _walk(node: shape.Type, prefix: str) -> Iterator[Setting]:
    assert isinstance(node, shape.StructType)
    for field in node.fields:
        described, inner = _open(field.type)
        key = prefix + field.name
        if isinstance(inner, shape.StructType):
            yield from _walk(inner, key + ".")
        else:
            yield _setting(key, field, described, inner)


def _setting(key: str, field: shape.Field, described: shape.Metadata, inner: shape.Type) -> Setting:
    table = _table(inner)
    extra = described.extra or {}
    a_list = isinstance(inner, shape.VarTupleType)
    # A plain path may stand for a table of storage.file_roots, so its variable is a list of paths as well.
    paths = "paths" in extra or (table is not None and table.cls is FileRoot)
    separator = ":" if paths else "," if a_list and table is None else ""
    return Setting(
        key=key,
        variable="TESK_" + key.upper().replace(".", "_"),
        type=_words(inner, paths=paths),
        default=_default_of(field),
        description=str((described.extra_json_schema or {}).get("description", "")),
        separator=separator,
        columns=tuple(_walk(table, "")) if table is not None else (),
        secret="secret" in extra,
    )


def _open(node: shape.Type) -> tuple[shape.Metadata, shape.Type]:
    """Part a type from what is said of it; of `X | None` take X."""
    described = shape.Metadata(node)
    if isinstance(node, shape.Metadata):
        described, node = node, node.type
    if isinstance(node, shape.UnionType):
        node = next(each for each in node.types if not isinstance(each, shape.NoneType))
    return described, node


def _table(node: shape.Type) -> shape.StructType | None:
    if isinstance(node, shape.VarTupleType) and isinstance(node.item_type, shape.StructType):
        return node.item_type
    return None


def _words(node: shape.Type, *, paths: bool) -> str:
    match node:
        case shape.BoolType():
            return "true or false"
        case shape.IntType(ge=low, le=high):
            return "whole number" + _range(low, high)
        case shape.FloatType(ge=low, le=high):
            return "number" + _range(low, high)
        case shape.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case shape.VarTupleType(item_type=shape.StructType()):
            return "list of paths or tables" if paths else "list of tables"
        case shape.VarTupleType():
            return "list of paths" if paths else "list of texts"
        case shape.DictType():
            return "table"
        case _:
            return "text"


def _range(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" from {low} to {high}"
    return f", {low} or more" if low is not None else ""


def _default_of(field: shape.Field) -> str:
    if field.default_factory is not NODEFAULT:
        return _default(field.default_factory())
    return "" if field.default is NODEFAULT else _default(field.default)


def _default(value: object) -> str:
    match value:
        case None:
            return "not given"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(_default(each) for each in value) + "]"
        case dict():
            return json.dumps(value)
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)
