"""Which tasks are to be canceled: from the body of a request to values, or to what is wrong with it. Pure."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from tesk.errors import Problem
from tesk.tes.parameters import TAGS_MOST
from tesk.tes.state import State
from tesk.tes.strict import halves, read

IDS_MOST = 10_000


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task must have, all of it. Tags as in ListTasks: in pairs by position, an empty or missing value is any.

    No `state`: whatever can still be canceled. `ids` None: whichever; they stand alone, or with `state`.
    """

    state: tuple[State, ...] = ()
    name_prefix: str = ""
    tag_key: tuple[str, ...] = ()
    tag_value: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None

    @property
    def tags(self) -> tuple[tuple[str, str | None], ...]:
        """The pairs."""
        values = (*self.tag_value, *("",) * (len(self.tag_key) - len(self.tag_value)))
        return tuple((key, value or None) for key, value in zip(self.tag_key, values, strict=True))


class CancelTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to cancel. `everything` (`all` on the wire) says that an empty filter is meant so. `dry_run` only counts."""

    filter: Filter = Filter()
    dry_run: bool = False
    everything: bool = msgspec.field(default=False, name="all")


def cancel_tasks(raw: bytes) -> CancelTasks:
    """Read a body. Raises BadRequest: for what is not known, too, since a filter that is misread cancels too much."""
    return read(raw, CancelTasks, _wrong)


def _wrong(asked: CancelTasks) -> Iterable[Problem]:
    which = asked.filter
    if which == Filter() and not asked.everything:
        yield Problem("filter", 'is empty: name what to cancel, or say {"all": true}')
    if which != Filter() and asked.everything:
        yield Problem("all", "must not be true where there is a filter")
    if len(which.tag_value) > len(which.tag_key):
        yield Problem("filter.tag_value", "has more values than `tag_key` has keys")
    if len(which.tag_key) > TAGS_MOST:
        yield Problem("filter.tag_key", f"may hold {TAGS_MOST} keys, not {len(which.tag_key)}")
    if which.ids is not None:
        if not which.ids:
            # Somebody's list may be empty by mistake: without it the filter would be of all tasks.
            yield Problem("filter.ids", "must not be empty; left out, it is no condition")
        if len(which.ids) > IDS_MOST:
            yield Problem("filter.ids", f"may hold {IDS_MOST} ids, not {len(which.ids)}")
        if which.name_prefix or which.tag_key:
            yield Problem("filter.ids", "may stand with `state`, not with `name_prefix` or tags")
    for name in ("name_prefix", "tag_key", "tag_value", "ids"):
        yield from halves(
            f"filter.{name}", (which.name_prefix,) if name == "name_prefix" else getattr(which, name) or ()
        )
