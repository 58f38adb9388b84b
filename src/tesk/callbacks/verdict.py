"""What an answer means for a delivery, and when the next try is. Pure."""

from msgspec import Struct

from tesk.callbacks.line import Answer
from tesk.settings import CallbacksSettings
from tesk.store.outbox import Pending, Status

_ASKS_FOR_TIME = frozenset({429, 503})
_GONE = 410


class Verdict(Struct, frozen=True, kw_only=True):
    """`wait_seconds`: until the next try of the task, where there is one. `host_seconds`: the host asked for that much peace."""

    status: Status
    wait_seconds: float = 0.0
    host_seconds: float | None = None
    out_of_order: bool = False
    """Whether it says something of the host, not of this task's URL."""


def judge(answer: Answer | None, move: Pending, *, now: float, settings: CallbacksSettings, chance: float) -> Verdict:
    """Judge an answer, None where none came. `chance` (0 to 1) spreads tries: each time of the backoff is as likely."""
    if answer is not None and 200 <= answer.code < 300:
        return Verdict(status=Status.DELIVERED)
    if answer is not None and answer.code == _GONE:
        return Verdict(status=Status.ENDED)
    wait = min(settings.retry_most_seconds, settings.retry_seconds * 2.0 ** min(move.tries, 40)) * chance
    asked = None
    if answer is not None and answer.code in _ASKS_FOR_TIME and answer.retry_after_seconds is not None:
        asked = min(answer.retry_after_seconds, settings.retry_most_seconds)
        wait = max(wait, asked)
    given_up = now - move.time >= settings.give_up_seconds
    return Verdict(
        status=Status.FAILED if given_up else Status.PENDING,
        wait_seconds=wait,
        host_seconds=asked,
        out_of_order=answer is None or (answer.code >= 500 and answer.code not in _ASKS_FOR_TIME),
    )
