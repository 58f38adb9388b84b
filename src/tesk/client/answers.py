"""Answers of a TES server, good and bad, as documents and errors."""

import json
from typing import TypeAlias

from tesk.client.http1 import Origin, Response
from tesk.errors import BadRequest, Problem, RequestError, StrangeAnswer, Unavailable

Document: TypeAlias = dict[str, object]
"""A JSON object as it came."""

_DIGITS_MOST = 9
"""Of a Retry-After: so many seconds are for ever."""

_BY_STATUS = {kind.status: kind for kind in RequestError.__subclasses__() if kind is not BadRequest}
# What stands before a server that begins anew says it so.
_BY_STATUS |= dict.fromkeys((502, 504), Unavailable)


def document_of(answer: Response) -> Document:
    """Return the JSON object in an answer. Raises StrangeAnswer."""
    document = _json(answer.body)
    if not isinstance(document, dict):
        raise StrangeAnswer(
            f"the server answered {answer.status} with something that is not TES: {_start(answer.body)}"
        )
    return document


def error_of(origin: Origin, answer: Response) -> RequestError:
    """Return the error that an answer is, in the server's own words where it has any."""
    error = _error(origin, answer.status, _json(answer.body), _start(answer.body), answer.headers.get("location", ""))
    after = answer.headers.get("retry-after", "")
    error.retry_after_seconds = int(after) if after.isdecimal() and len(after) < _DIGITS_MOST else None
    return error


def places_of(origin: Origin, answer: Response) -> list[str | RequestError]:
    """Return what an answer to many tasks says of each: its id, or why it is not stored. Raises RequestError where it says nothing."""
    document = _json(answer.body)
    places = document.get("tasks") if isinstance(document, dict) else None
    if not isinstance(places, list):
        raise error_of(origin, answer)
    return [_place(origin, each if isinstance(each, dict) else {}) for each in places]


def _place(origin: Origin, place: Document) -> str | RequestError:
    task_id, error = place.get("id"), place.get("error")
    if isinstance(task_id, str):
        return task_id
    status = error.get("status") if isinstance(error, dict) else None
    if not isinstance(status, int):
        raise StrangeAnswer(f"{origin} did not say what became of each task")
    return _error(origin, status, error)


def _error(origin: Origin, status: int, document: object, start: str = "", location: str = "") -> RequestError:
    said = ""
    problems: tuple[Problem, ...] = ()
    if isinstance(document, dict):
        words = (document.get(key) for key in ("detail", "msg", "message", "error", "title"))
        said = next((word for word in words if isinstance(word, str) and word), "")
        problems = _problems(document.get("problems"))
    kind = _BY_STATUS.get(status, RequestError)
    detail = f"{origin} says: {said or start or kind.title} ({status})"
    if location:
        detail += f"; it points to {location}"
    return BadRequest(detail, problems) if status == BadRequest.status else kind(detail)


def text_of(document: Document, *path: str) -> str:
    """Return the text at a path, "" where there is none. Numbers are given as text, too."""
    value = _at(document, path)
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, int | float) else ""


def list_of(document: Document, *path: str) -> list[Document]:
    """Return the objects in the list at a path; others in it are left out."""
    value = _at(document, path)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def words_of(document: Document, *path: str) -> list[str]:
    """Return the texts in the list at a path."""
    value = _at(document, path)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _at(document: Document, path: tuple[str, ...]) -> object:
    value: object = document
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _problems(found: object) -> tuple[Problem, ...]:
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return tuple(Problem(str(row.get("path", "")), str(row.get("detail", ""))) for row in rows)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _start(body: bytes) -> str:
    """Return the first line of a body, for a person."""
    line = next(iter(body.decode("utf-8", "replace").strip().splitlines()), "")
    return line[:120]
