"""What both clients are asked for by keyword, said once."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from tesk.tes.state import State
from tesk.tes.view import View


class Listed(TypedDict, total=False):
    """Which tasks to list, and how much of each. A tag with the value "" matches any value."""

    view: View
    state: State | None
    name_prefix: str | None
    tags: Mapping[str, str] | None
    page_size: int | None


class Matched(TypedDict, total=False):
    """Which tasks to cancel; `dry_run` only counts them. See `tesk.client.bulk.Which`."""

    states: Sequence[State]
    name_prefix: str
    tags: Mapping[str, str] | None
    ids: Sequence[str] | None
    everything: bool
    dry_run: bool


class Followed(TypedDict, total=False):
    """Of which tasks to hear, of which states, and after which place. See `tesk.client.calls.Calls.events`."""

    tasks: Sequence[str]
    states: Sequence[State]
    tags: Mapping[str, str] | None
    name_prefix: str
    after: str
