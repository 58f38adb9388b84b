"""The parameters of a request, those of GetTask and ListTasks whole: from a query string to values, or to all that is wrong with it. Pure."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct

from tesk.errors import BadRequest, Problem
from tesk.tes.document import shown
from tesk.tes.ids import is_id
from tesk.tes.state import State
from tesk.tes.view import View

_Word = TypeVar("_Word", bound=str)

PAGE_SIZE = 256
PAGE_SIZE_MOST = 2047
TAGS_MOST = 64
"""Pairs in one filter; a task rarely has as many tags."""

_SHORT_BYTES = 500
"""What was made of a query shorter than that is remembered."""

_FLAGS = {"0": False, "false": False, "1": True, "true": True}
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z")
_VIEWS = {view.value: view for view in View}
_STATES = {state.value: state for state in State}


class GetTask(Struct, frozen=True, kw_only=True):
    """The parameters of GetTask. `wait_seconds` None: answer at once."""

    view: View = View.MINIMAL
    wait_seconds: float | None = None


class ListTasks(Struct, frozen=True, kw_only=True):
    """The parameters of ListTasks. A tag value of None matches any. `page_token` is the id that ended the last page."""

    view: View = View.MINIMAL
    state: State | None = None
    name_prefix: str = ""
    tags: tuple[tuple[str, str | None], ...] = ()
    page_size: int = PAGE_SIZE
    page_token: str | None = None


def get_task(query: bytes) -> GetTask:
    """Read the query string of GetTask. Raises BadRequest."""
    return (_get_task_again if len(query) < _SHORT_BYTES else _get_task)(query)


def list_tasks(query: bytes) -> ListTasks:
    """Read the query string of ListTasks. Raises BadRequest."""
    return (_list_tasks_again if len(query) < _SHORT_BYTES else _list_tasks)(query)


def _get_task(query: bytes) -> GetTask:
    given = Given(query)
    parameters = GetTask(view=given.view(), wait_seconds=given.seconds("wait"))
    given.refuse()
    return parameters


def _list_tasks(query: bytes) -> ListTasks:
    given = Given(query)
    parameters = ListTasks(
        view=given.view(),
        state=given.state(),
        name_prefix=given.one("name_prefix") or "",
        tags=given.tags(),
        page_size=given.page_size(),
        page_token=given.page_token(),
    )
    given.refuse()
    return parameters


# Clients ask the same over and over.
_get_task_again = lru_cache(maxsize=1024)(_get_task)
_list_tasks_again = lru_cache(maxsize=1024)(_list_tasks)


class Given:
    """A query string while it is read. What it does not know is left alone."""

    def __init__(self, query: bytes) -> None:
        self._problems: list[Problem] = []
        self._values: dict[str, list[str]] = {}
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            self.wrong("", "the query has more than 1000 parameters")
            return
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def one(self, name: str) -> str | None:
        values = self._values.get(name, ())
        if len(values) > 1:
            self.wrong(name, "is given more than once")
        return values[0] if values else None

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def view(self) -> View:
        text = self.one("view")
        if text is None:
            return View.MINIMAL
        if text not in _VIEWS:
            self.wrong("view", f"must be MINIMAL, BASIC or FULL, not {shown(text)}")
        return _VIEWS.get(text, View.MINIMAL)

    def state(self) -> State | None:
        text = self.one("state")
        if text is None:
            return None
        if text not in _STATES:
            self.wrong("state", f"must be a state of TES ({', '.join(_STATES)}), not {shown(text)}")
        return _STATES.get(text)

    def states(self) -> list[State]:
        texts = self.many("state")
        for text in texts:
            if text not in _STATES:
                self.wrong("state", f"must be a state of TES ({', '.join(_STATES)}), not {shown(text)}")
        return [_STATES[text] for text in texts if text in _STATES]

    def page_size(self) -> int:
        text = self.one("page_size")
        if text is None:
            return PAGE_SIZE
        if not _INTEGER.match(text):
            self.wrong("page_size", f"must be a whole number from 1 to {PAGE_SIZE_MOST}, not {shown(text)}")
            return PAGE_SIZE
        # Python refuses to read thousands of digits.
        size = int(text) if len(text) < 20 else -1 if text.startswith("-") else PAGE_SIZE_MOST
        if size < 1:
            self.wrong("page_size", f"must be at least 1, not {shown(text)}")
        return min(size, PAGE_SIZE_MOST)

    def page_token(self) -> str | None:
        text = self.one("page_token")
        if not text:
            return None
        if not is_id(text):
            self.wrong("page_token", "is none that this server gave: take `next_page_token` of the page before")
        return text

    def tags(self) -> tuple[tuple[str, str | None], ...]:
        """Pair keys and values by position; an empty or missing value means any."""
        keys, values = self._values.get("tag_key", []), self._values.get("tag_value", [])
        if len(values) > len(keys):
            self.wrong("tag_value", f"is given {len(values)} times, but `tag_key` only {len(keys)} times")
        if len(keys) > TAGS_MOST:
            self.wrong("tag_key", f"may be given {TAGS_MOST} times, not {len(keys)}")
        values = values[: len(keys)] + [""] * (len(keys) - len(values))
        return tuple((key, value or None) for key, value in zip(keys, values, strict=True))

    def seconds(self, name: str) -> float | None:
        text = self.one(name)
        if text is None:
            return None
        if not _SECONDS.match(text):
            self.wrong(name, f"must be a number of seconds, such as 30, not {shown(text)}")
            return None
        return float(text)

    def flag(self, name: str) -> bool:
        text = self.one(name) or "0"
        if text not in _FLAGS:
            self.wrong(name, f"must be true or 1, false or 0, not {shown(text)}")
        return _FLAGS.get(text, False)

    def whole(self, name: str) -> int | None:
        text = self.one(name)
        if not text:
            return None
        if not _WHOLE.match(text):
            self.wrong(name, f"must be a whole number from 0, not {shown(text)}")
            return None
        return int(text)

    def choice(self, name: str, among: Collection[_Word], otherwise: _Word) -> _Word:
        text = self.one(name)
        found = next((each for each in among if each == text), otherwise)
        if text is not None and found != text:
            self.wrong(name, f"must be one of {', '.join(among)}, not {shown(text)}")
        return found

    def wrong(self, path: str, detail: str) -> None:
        """Keep in mind what is wrong."""
        self._problems.append(Problem(path, detail))

    def refuse(self) -> None:
        """Raise BadRequest where anything was wrong."""
        if self._problems:
            first = self._problems[0]
            detail = f"{first.path} {first.detail}".strip()
            if len(self._problems) > 1:
                detail = f"{len(self._problems)} problems with the parameters"
            raise BadRequest(detail, tuple(self._problems))
