"""Which events somebody wants to be told of: from a query string or a body to values, or to what is wrong with it. Pure."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from tesk.errors import BadRequest, Problem
from tesk.tes.document import shown
from tesk.tes.event import Event
from tesk.tes.parameters import TAGS_MOST, Given
from tesk.tes.state import State
from tesk.tes.strict import halves, read

TASKS_MOST = 10_000
_POSITION = re.compile(r"[0-9]{1,18}\Z")
_STATES = tuple(state.value for state in State)


class Wanted(Struct, frozen=True, kw_only=True):
    """What an event must be, all of it. What is empty is no condition; a tag's value of None matches any.

    `owner` None: anybody's.
    """

    owner: str | None = None
    tasks: frozenset[str] = frozenset()
    states: frozenset[State] = frozenset()
    name_prefix: str = ""
    tags: tuple[tuple[str, str | None], ...] = ()

    @property
    def by_label(self) -> bool:
        """Say whether a task's name and tags must be known to tell."""
        return bool(self.name_prefix or self.tags)

    def fits(self, event: Event, name: str, tags: Mapping[str, str]) -> bool:
        """Say whether to tell of an event of a task of this name and these tags."""
        return (
            (not self.states or event.state in self.states)
            and (self.owner is None or event.owner == self.owner)
            and (not self.tasks or event.task_id in self.tasks)
            and name.startswith(self.name_prefix)
            and all(key in tags and value in (None, tags[key]) for key, value in self.tags)
        )


class _Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tasks: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    tags: dict[str, str | None] = {}
    name_prefix: str = ""
    after: str = ""


def wanted(query: bytes) -> tuple[Wanted, str]:
    """Read a query string; return what is wanted, and after which position, "" where that is not said. Raises BadRequest."""
    given = Given(query)
    found = Wanted(
        tasks=frozenset(given.many("task")),
        states=frozenset(given.states()),
        name_prefix=given.one("name_prefix") or "",
        tags=given.tags(),
    )
    after = given.one("after") or ""
    given.refuse()
    return found, after


def wanted_of(raw: bytes) -> tuple[Wanted, str]:
    """Read a body, as `wanted` reads a query. An empty one wants everything. Raises BadRequest."""
    if not raw.strip():
        return Wanted(), ""
    body = read(raw, _Body, _wrong)
    return Wanted(
        tasks=frozenset(body.tasks),
        states=frozenset(map(State, body.states)),
        name_prefix=body.name_prefix,
        tags=tuple((key, value or None) for key, value in body.tags.items()),
    ), body.after


def position(text: str, name: str) -> int | None:
    """Return a position that was given by a name, None for "". Raises BadRequest."""
    if not text:
        return None
    if not _POSITION.match(text):
        detail = f'must be the `id` of an event, or "0" for the beginning, not {shown(text)}'
        raise BadRequest(f"{name} {detail}", (Problem(name, detail),))
    return int(text)


def _wrong(body: _Body) -> Iterable[Problem]:
    if len(body.tasks) > TASKS_MOST:
        yield Problem("tasks", f"may hold {TASKS_MOST} ids, not {len(body.tasks)}")
    if len(body.tags) > TAGS_MOST:
        yield Problem("tags", f"may hold {TAGS_MOST} tags, not {len(body.tags)}")
    for number, text in enumerate(body.states):
        if text not in _STATES:
            yield Problem(f"states[{number}]", f"must be a state of TES ({', '.join(_STATES)}), not {shown(text)}")
    yield from halves("tasks", body.tasks)
    yield from halves("name_prefix", (body.name_prefix,))
