"""Many tasks at a time: by few requests where the server is TESK, by one for each where it is another's. See `tesk.client.calls`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tesk.client.answers import Document, text_of
from tesk.client.calls import Call, Calls
from tesk.errors import BadDocument, NotFound, RequestError
from tesk.tes.state import State

CANCELABLE = (State.QUEUED, State.INITIALIZING, State.RUNNING)
_TASKS = 10_000
_BYTES = 64 * 1024 * 1024
"""What a server takes at once that does not say otherwise."""

Place = str | RequestError
"""What became of one task: its id, or why it is not stored."""


class Canceled(NamedTuple):
    """How many tasks a filter has matched, and for how many of them the end was asked for."""

    matched: int
    canceled: int


class Which(NamedTuple):
    """What a task must have to be canceled, all of it; no `states`: any from which it can be. `ids` stand without name and tags.

    A tag with the value "" matches any value. `everything` says that an empty filter is meant so.
    """

    states: Sequence[str] = ()
    name_prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    ids: Sequence[str] | None = None
    everything: bool = False


def parts(bodies: Sequence[bytes], abilities: Document) -> Iterator[Sequence[bytes]]:
    """Part tasks, as JSON, into batches that the server takes, by what it says that it can."""
    tasks, size = _limit(abilities, "batch_tasks", _TASKS), _limit(abilities, "batch_body_bytes", _BYTES)
    start = length = 0
    for end, body in enumerate(bodies):
        if end - start == tasks or (end > start and length + len(body) + 1 > size):
            yield bodies[start:end]
            start, length = end, 0
        length += len(body) + 1
    if bodies:
        yield bodies[start:]


def submit_many(calls: Calls, bodies: Sequence[bytes]) -> Call[list[Place]]:
    """Submit tasks, as JSON without line ends; return what became of each."""
    abilities = yield from calls.abilities()
    places: list[Place] = []
    if abilities.get("batch"):
        for some in parts(bodies, abilities):
            places += yield from calls.batch(some)
        return places
    for body in bodies:
        try:
            places.append((yield from calls.create(body)))
        except RequestError as error:
            places.append(error)
    return places


def cancel_matching(calls: Calls, which: Which, *, dry_run: bool) -> Call[Canceled]:
    """Cancel what fits, or count it. Other servers are asked for their list first, and then for the end of each."""
    if which.ids is not None and not which.ids:
        return Canceled(0, 0)
    if not (any(which[:3]) or which.ids or which.everything):
        raise BadDocument("nothing is said of which tasks to cancel; that all are meant must be said")
    if (yield from calls.abilities()).get("cancel_by_filter"):
        return Canceled(
            *(yield from calls.cancel_matching(_filter(which), everything=which.everything, dry_run=dry_run))
        )
    found = yield from _found(calls, which)
    canceled = 0
    for task_id in () if dry_run else found:
        yield from calls.cancel(task_id)
        canceled += 1
    return Canceled(len(found), canceled)


def _filter(which: Which) -> Document:
    document: Document = {"state": [*which.states], "name_prefix": which.name_prefix}
    document |= {"tag_key": [key for key, _ in which.tags], "tag_value": [value for _, value in which.tags]}
    return {key: value for key, value in document.items() if value} | (
        {} if which.ids is None else {"ids": [*which.ids]}
    )


def _found(calls: Calls, which: Which) -> Call[Sequence[str]]:
    states = which.states or CANCELABLE
    found: dict[str, None] = {}
    for task_id in which.ids or ():
        try:
            if text_of((yield from calls.get(task_id, "MINIMAL")), "state") in states:
                found[task_id] = None
        except NotFound:
            continue
    for state in () if which.ids is not None else states:
        token, more = None, True
        while more:
            page, token = yield from calls.page(
                view="MINIMAL", page_token=token, name_prefix=which.name_prefix or None, state=state, tags=which.tags
            )
            # Not every server knows every filter: who is in another state is left alone.
            found |= {text_of(task, "id"): None for task in page if text_of(task, "state") == state}
            more = token is not None
    return [*found]


def _limit(abilities: Document, name: str, otherwise: int) -> int:
    limits = abilities.get("limits")
    said = limits.get(name) if isinstance(limits, dict) else None
    return said if isinstance(said, int) and said > 0 else otherwise
