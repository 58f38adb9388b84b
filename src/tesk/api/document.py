"""The OpenAPI documents that we wrote, and a page on each: plain HTML, nothing from outside."""

import json
from html import escape
from importlib.resources import files
from typing import Any

from tesk.http.exchange import JSON, Exchange

_PAGE = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
]
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc } code { background: #8882; padding: 0 .2em; border-radius: 3px }
b.m { font: 600 .8rem monospace; background: #246; color: #fff; padding: .15rem .4rem; border-radius: 3px; margin-right: .4rem }
table { border-collapse: collapse; margin: .5rem 0 } td { padding: .1rem 1rem .1rem 0; vertical-align: top } a { color: #136 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } a { color: #8cf } h2 { border-color: #444 } }
"""

_Schema = dict[str, Any]
"""JSON of a file of ours: its shape is OpenAPI's."""


class Document:
    """One document below one base path. Read when it is first asked for."""

    def __init__(self, name: str, base: str) -> None:
        self._name = name
        self._base = base

    async def json(self, exchange: Exchange) -> None:
        """Serve the document."""
        await exchange.answer(200, self._bytes(), JSON)

    async def page(self, exchange: Exchange) -> None:
        """Serve the page."""
        await exchange.answer(200, _page(json.loads(self._bytes()), self._base).encode(), _PAGE)

    def _bytes(self) -> bytes:
        return (files("tesk.api") / "openapi" / f"{self._name}.json").read_bytes()


def _page(document: _Schema, base: str) -> str:
    info = document["info"]
    operations = "".join(
        _operation(base + path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style><h1>{escape(info['title'])}</h1>"
        f"<p>{_text(info['description'])}<p>As a document: <a href='{base}/openapi.json'>openapi.json</a>"
        f"{operations}<h2>Values</h2>{schemas}</html>"
    )


def _operation(path: str, method: str, operation: _Schema) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}<td>{_text(each.get('description', ''))}"
        for each in operation.get("parameters", ())
    )
    body = ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        body = f"<p>Body: {escape(kind)}, {_type(content['schema'])}"
    answers = "".join(
        f"<tr><td><code>{code}</code><td>{_answer(answer)}" for code, answer in operation["responses"].items()
    )
    return (
        f"<h2 id='{operation['operationId']}'>{escape(operation['summary'])}</h2>"
        f"<p><b class=m>{method.upper()}</b><code>{escape(path)}</code> {operation['operationId']}"
        f"<table>{parameters}</table>{body}<p>Answers<table>{answers}</table>"
    )


def _answer(answer: _Schema) -> str:
    if "$ref" in answer:
        return f"{answer['$ref'].rpartition('/')[2]} ({_type({'$ref': 'Error'})})"
    types = "".join(f" {_type(content['schema'])}" for content in answer.get("content", {}).values())
    return _text(answer["description"]) + types


def _schema(name: str, schema: _Schema) -> str:
    needed = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in needed else ''}<td>{_type(of)}"
        f"<td>{_text(of.get('description', ''))}"
        for field, of in schema.get("properties", {}).items()
    )
    described = _text(schema.get("description", ""))
    return f"<h3 id='{name}'>{name}</h3><p>{described} {'' if rows else _type(schema)}<table>{rows}</table>"


def _type(schema: _Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{name}'>{name}</a>"
    for words in ("anyOf", "oneOf"):
        if words in schema:
            return " or ".join(_type(each) for each in schema[words] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"<code>{escape(each)}</code>" for each in schema["enum"] if each is not None)
    kinds = schema.get("type", "")
    kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    return escape(kind)


def _text(text: str) -> str:
    """Return a sentence with its `words` in code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))
