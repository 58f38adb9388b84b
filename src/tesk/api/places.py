"""What the tasks of one batch are answered, each in its place. Pure."""

from tesk.errors import BadRequest, Problem, RequestError
from tesk.http.exchange import Headers, refusal
from tesk.tes import messages
from tesk.tes.document import MOST_PROBLEMS

_TOLD = 1000
"""Problems that are told of one batch: a list of nonsense must not be answered with a hundred times its bytes."""

Outcome = str | RequestError
"""What became of one task: its id, or why it is not stored."""


class Places:
    """Puts answers together, place by place, and counts."""

    def __init__(self) -> None:
        self.stored = 0
        self._count = 0
        self._left = _TOLD
        self._refusals: dict[int, RequestError] = {}
        """The first of each status."""
        self._problems: list[Problem] = []

    def next(self, outcome: Outcome) -> bytes:
        """Return what is answered in the next place: `{"id": ...}`, or `{"error": ...}` as our errors are."""
        place, self._count = self._count, self._count + 1
        if isinstance(outcome, str):
            self.stored += 1
            return messages.create_task(outcome)
        self._refusals.setdefault(outcome.status, outcome)
        told = outcome.problems[: self._left] if isinstance(outcome, BadRequest) else ()
        self._left -= len(told)
        self._problems += problems_in(place, outcome)[: MOST_PROBLEMS - len(self._problems)]
        return b'{"error":%b}' % messages.error(outcome.status, outcome.title, outcome.detail, told)

    def refusal(self, answers: list[bytes]) -> tuple[int, Headers, bytes]:
        """Return what is answered where no task was stored: status, headers, body. `answers` are those of all places."""
        first = next(iter(self._refusals.values()))
        detail = f"none of {self._count} tasks was stored: {first.detail}"
        if len(self._refusals) > 1 or isinstance(first, BadRequest):
            status, headers, body = refusal(BadRequest(detail, tuple(self._problems)))
        else:
            status, headers, body = refusal(type(first)(detail, retry_after_seconds=first.retry_after_seconds))
        return status, headers, b'%b,"tasks":[%b]}' % (body[:-1], b",".join(answers))


def problems_in(place: int, error: RequestError) -> list[Problem]:
    """Return what is wrong with the task in a place, counted from 0, with paths that begin at the batch."""
    problems = error.problems if isinstance(error, BadRequest) else ()
    if not problems:
        return [Problem(f"tasks[{place}]", error.detail)]
    return [Problem(f"tasks[{place}].{each.path}".rstrip("."), each.detail) for each in problems]
