"""Tasks that a person wrote, in YAML or JSON, many in a stream: read with their lines, changed by paths, written out."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import yaml

from tesk.client.answers import Document
from tesk.errors import BadDocument, Problem

_READ = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WRITE = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_READ):  # type: ignore[misc, valid-type]  # the C one where libyaml is there
    """YAML with the scalars of JSON: `yes`, `1:30`, `0777` and dates stay the words that were written."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"-?(0|[1-9]\d*)", "-0123456789"),
    ("float", r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", "-0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


class _Dumper(_WRITE):  # type: ignore[misc, valid-type]  # the C one where libyaml is there
    """YAML in which texts of several lines are blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


@dataclass(frozen=True, slots=True)
class Written:
    """One task that a person wrote. `line` is where it begins, counted from 1."""

    document: Document
    file: str
    line: int
    _text: str = field(repr=False)
    _place: str = ""
    """Where in the document it is, if that is a list of tasks."""

    def where(self, path: str = "") -> str:
        """Return `file:line` of a field, by its JSON path (`executors[0].image`), or of the nearest thing around it."""
        try:
            node = yaml.compose(self._text, Loader=_Loader)
        except yaml.YAMLError:  # JSON that is no YAML
            node = None
        line = 0
        for step in re.findall(r"[^.\[\]]+", self._place + path.removeprefix("$")):
            node = _step(node, step)
            if node is None:
                break
            line = node.start_mark.line
        return f"{self.file}:{self.line + line}"

    def explain(self, problems: tuple[Problem, ...]) -> str:
        """Return a line for each problem: file, line, field, what would be right."""
        return "\n".join(f"{self.where(each.path)}: {each.path}: {each.detail}" for each in problems)


def read(text: str, file: str) -> list[Written]:
    """Return the tasks in a text. Raises BadDocument that names file and line."""
    stream = _json(text, file) if text.lstrip()[:1] in ("{", "[") else _yaml(text, file)
    found = [each for document, line, own in stream for each in _tasks(document, file, line, own)]
    if not found:
        raise BadDocument(f"{file}: there is no task in it")
    return found


def change(document: Document, settings: list[str], tags: list[str]) -> Document:
    """Return a task with `path=value` (`resources.cpu_cores=2`, `executors.0.image=alpine`) and `key=value` tags put in.

    A value is text, but a number, a truth or JSON where the spec wants one there.
    """
    changed: Document = json.loads(json.dumps(document))
    for each in settings:
        path, sign, text = each.partition("=")
        if not sign or not path:
            raise BadDocument(f"--set {each}: write path=value, such as name=x or executors.0.image=debian")
        _put(changed, path.split("."), _value(path, text), each)
    for each in tags:
        key, _, text = each.partition("=")
        _put(changed, ["tags", key], text, each)
    return changed


def as_yaml(document: object) -> str:
    """Return a value as YAML."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _yaml(text: str, file: str) -> Iterator[tuple[object, int, str]]:
    try:
        loader = _Loader(text)
        lines = text.splitlines(keepends=True)
        while loader.check_node():
            node = loader.get_node()
            first, end = node.start_mark.line, node.end_mark
            # What ends at the begin of a line ends before it.
            own = "".join(lines[first : end.line + (end.column > 0)])
            yield loader.construct_document(node), first + 1, own
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadDocument(f"{file}:{line}: no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise BadDocument(f"{file}: no YAML: {error}") from error


def _json(text: str, file: str) -> Iterator[tuple[object, int, str]]:
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadDocument(f"{file}:{error.lineno}: no JSON: {error.msg}") from error
        yield document, text.count("\n", 0, at) + 1, text[at:end]
        at = end


def _tasks(document: object, file: str, line: int, text: str, place: str = "") -> Iterator[Written]:
    match document:
        case None:  # an empty document between two `---`
            return
        case dict():
            yield Written(document, file, line, text, place)
        case list():
            for index, each in enumerate(document):
                yield from _tasks(each, file, line, text, f"{place}[{index}]")
        case _:
            raise BadDocument(f"{file}:{line}: a task is an object with `executors`, not {json.dumps(document)[:60]}")


def _step(node: object, step: str) -> yaml.Node | None:
    """Return the node one step further."""
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        found: yaml.Node = node.value[int(step)]
        return found
    return None


_NUMBERS = frozenset({"cpu_cores", "ram_gb", "disk_gb"})
_TRUTHS = frozenset({"preemptible", "streamable", "ignore_error", "backend_parameters_strict"})


def _value(path: str, text: str) -> object:
    name = path.rpartition(".")[2]
    if name in _NUMBERS or name in _TRUTHS or text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            wanted = "a number" if name in _NUMBERS else "true or false" if name in _TRUTHS else "JSON"
            raise BadDocument(f"--set {path}={text}: must be {wanted}") from error
    return text


def _put(document: Document, steps: list[str], value: object, typed: str) -> None:
    here: object = document
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(here, dict):
            if following is None:
                here[step] = value
            elif here.get(step) is None:
                here[step] = [] if following.isdecimal() else {}
            here = here[step]
        elif isinstance(here, list) and step.isdecimal() and int(step) <= len(here):
            if int(step) == len(here):
                here.append(value if following is None else {})
            elif following is None:
                here[int(step)] = value
            here = here[int(step)]
        else:
            raise BadDocument(f"{typed}: there is no place {step} to put it")
