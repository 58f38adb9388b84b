"""What a callback says, and whether to believe it after what was heard before. Pure."""

from enum import Enum

import msgspec
from msgspec import Struct

from tesk.errors import BadRequest, Problem, TeskError
from tesk.tes.state import TERMINAL, State
from tesk.tes.times import rfc3339
from tesk.tes.told import Told

_ID_MOST = 256
_SEQUENCE_MOST = 2**53
_WORD_MOST = 64


class Unheard(TeskError):  # noqa: N818  it is what the task is
    """Nothing was heard of a task in the time that was given."""


class Heard(Struct, frozen=True, kw_only=True):
    """Something that was said of a task. `sequence` 0: it is not known where this stands among the task's moves.

    `subscription` is whose callback it was, "" for one that was signed. `asked` is when a server was asked whose answer
    this is (seconds since the epoch), None for a callback.
    """

    subscription: str
    id: str
    state: State
    sequence: int = 0
    time: str
    previous_state: str | None = None
    attempt: int = 0
    at: float
    asked: float | None = None

    @property
    def ended(self) -> bool:
        """Say whether it was the task's last move."""
        return self.state in TERMINAL


class Known(Struct, frozen=True, kw_only=True):
    """What is known of a task. UNKNOWN with `sequence` 0: that somebody waits for it. `at` is when that was heard."""

    state: State
    sequence: int
    at: float


class Verdict(Enum):
    """What to do with what was heard."""

    NEWS = "news"
    DUPLICATE = "duplicate"
    LATE = "late"
    DOUBTED = "doubted"
    """Without a sequence nobody can say what came first: the server is to be asked."""


def judge(known: Known | None, heard: Heard) -> Verdict:
    """Decide. An end is final, whoever says it; everything else goes by its sequence, or by what a server answers."""
    if known is not None and known.state in TERMINAL:
        return Verdict.DUPLICATE if heard.state == known.state else Verdict.LATE
    if heard.sequence:
        if known is None or heard.sequence > known.sequence:
            return Verdict.NEWS
        return Verdict.DUPLICATE if heard.sequence == known.sequence else Verdict.LATE
    if heard.ended:
        return Verdict.NEWS
    if heard.asked is None:
        return Verdict.DOUBTED
    if known is not None and heard.state == known.state:
        return Verdict.DUPLICATE
    # What a callback said since the question may be newer than the answer.
    return Verdict.LATE if known is not None and known.sequence and known.at >= heard.asked else Verdict.NEWS


class _Body(Struct, frozen=True):
    """Lenient: senders that we do not know may say more, or less."""

    id: str
    state: str
    sequence: int = 0
    time: str = ""
    previous_state: str | None = None
    attempt: int = 0


_decode = msgspec.json.Decoder(_Body).decode
_STATES = {state.value: state for state in State}


def read(body: bytes, subscription: str, now: float) -> Heard:
    """Return what the body of a callback says. Raises BadRequest. A state that TES has not is UNKNOWN."""
    try:
        said = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        detail = f'this is no callback, such as {{"id": "task", "state": "COMPLETE"}}: {error}'
        raise BadRequest(detail, (Problem("", detail),)) from error
    check_id(said.id)
    if not 0 <= said.sequence <= _SEQUENCE_MOST:
        raise BadRequest(f"sequence: must be from 1 to {_SEQUENCE_MOST}, not {said.sequence}")
    return Heard(
        subscription=subscription,
        id=said.id,
        state=_STATES.get(said.state, State.UNKNOWN),
        sequence=said.sequence,
        time=_word(said.time) or rfc3339(now),
        previous_state=_word(said.previous_state or "") or None,
        attempt=min(max(said.attempt, 0), _SEQUENCE_MOST),
        at=now,
    )


def _word(text: str) -> str:
    """Return what can be kept of a word: PostgreSQL takes no zero byte, and would take nothing that came with it."""
    return text[:_WORD_MOST] if text.isprintable() else ""


def check_id(task_id: str) -> None:
    """Raise BadRequest for what is no id of a task."""
    if not (0 < len(task_id) <= _ID_MOST and task_id.isprintable()):
        raise BadRequest(f"id: must have 1 to {_ID_MOST} characters that can be printed")


def told(heard: Heard) -> Told:
    """Return what clients are told of it."""
    return Told(
        id=heard.id,
        state=heard.state.value,
        time=heard.time,
        sequence=heard.sequence,
        previous_state=heard.previous_state,
        attempt=heard.attempt,
    )


def unheard(task_id: str) -> Told:
    """Return what clients are told of a task of which nothing was heard."""
    return Told(id=task_id, state=State.UNKNOWN.value, time="", sequence=0, previous_state=None, attempt=0)
