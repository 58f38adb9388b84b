"""Many tasks at a time: by few requests where the server is TESK, by one for each where it is another's. See `tesk.client.calls`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tesk.client.answers import Document, text_of
from tesk.client.calls import Call, Calls
from tesk.errors import BadDocument, ClientError, NotFound, RequestError
from tesk.tes.state import State

CANCELABLE = (State.QUEUED, State.INITIALIZING, State.RUNNING)
_TASKS = 10_000
_BYTES = 64 * 1024 * 1024
"""What a server takes at once that does not say otherwise."""

Place = str | RequestError | ClientError
"""What became of one task: its id, or why it is not stored; behind a ClientError nobody knows whether it is."""


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
    """Submit tasks, as JSON without line ends; return what became of each.

    What ends all of it is raised while nothing is stored, and afterwards stands in the places of all that are left: the ids
    of the others must not be lost.
    """
    abilities = yield from calls.abilities()
    many = bool(abilities.get("batch"))
    places: list[Place] = []
    for some in parts(bodies, abilities) if many else ([body] for body in bodies):
        try:
            if many:
                places += yield from calls.batch(some)
            else:
                places.append((yield from calls.create(some[0])))
        except (RequestError, ClientError) as error:
            if isinstance(error, RequestError) and not many:
                places.append(error)
                continue
            if not any(isinstance(each, str) for each in places):
                raise
            return [*places, *[error] * (len(bodies) - len(places))]
    return places


def cancel_matching(calls: Calls, which: Which, *, dry_run: bool) -> Call[Canceled]:
    """Cancel what fits, or count it. Other servers are asked for their list first, and then for the end of each.

    Where another server refuses some, the others are canceled all the same; where it refuses all, it is raised.
    """
    if which.ids is not None and not which.ids:
        return Canceled(0, 0)
    if not (any(which[:3]) or which.ids or which.everything):
        raise BadDocument("nothing is said of which tasks to cancel; that all are meant must be said")
    if (yield from calls.abilities()).get("cancel_by_filter"):
        return Canceled(
            *(yield from calls.cancel_matching(_filter(which), everything=which.everything, dry_run=dry_run))
        )
    found = yield from _found(calls, which)
    canceled, refused = 0, None
    for task_id, state in () if dry_run else found.items():
        if state in CANCELABLE:
            try:
                yield from calls.cancel(task_id)
                canceled += 1
            except RequestError as error:
                refused = refused or error
    if refused is not None and not canceled:
        raise refused
    return Canceled(len(found), canceled)


def _filter(which: Which) -> Document:
    document: Document = {"state": [*which.states], "name_prefix": which.name_prefix}
    document |= {"tag_key": [key for key, _ in which.tags], "tag_value": [value for _, value in which.tags]}
    return {key: value for key, value in document.items() if value} | (
        {} if which.ids is None else {"ids": [*which.ids]}
    )


def _found(calls: Calls, which: Which) -> Call[dict[str, str]]:
    """Return the tasks that fit, and their states."""
    states = which.states or CANCELABLE
    found: dict[str, str] = {}
    for task_id in which.ids or ():
        try:
            state = text_of((yield from calls.get(task_id, "MINIMAL")), "state")
        except NotFound:
            continue
        if state in states:
            found[task_id] = state
    view = "BASIC" if which.name_prefix or which.tags else "MINIMAL"
    for state in () if which.ids is not None else states:
        token, more = None, True
        while more:
            page, token = yield from calls.page(
                view=view, page_token=token, name_prefix=which.name_prefix or None, state=state, tags=which.tags
            )
            # Not every server knows every filter, and who does not fit must be left alone.
            found |= {text_of(task, "id"): str(state) for task in page if _fits(task, which, state)}
            more = token is not None
    return found


def _fits(task: Document, which: Which, state: str) -> bool:
    given = task.get("tags")
    tags = given if isinstance(given, dict) else {}
    return (
        text_of(task, "state") == state
        and text_of(task, "name").startswith(which.name_prefix)
        and all(key in tags and value in ("", tags[key]) for key, value in which.tags)
    )


def _limit(abilities: Document, name: str, otherwise: int) -> int:
    limits = abilities.get("limits")
    said = limits.get(name) if isinstance(limits, dict) else None
    return said if isinstance(said, int) and said > 0 else otherwise
