"""A stream of events that goes on at the next one over connections that break: what to ask, what was heard, when to ask again. No socket."""

import random
from collections.abc import Callable
from dataclasses import replace

from tesk.client.answers import error_of
from tesk.client.http1 import Origin, Request, Response
from tesk.client.patience import Patience
from tesk.client.sent import Parser, Sent
from tesk.errors import RequestError, StrangeAnswer, Unreachable

PASSING = frozenset({429, 502, 503, 504})
"""What a server that begins or ends is answered for, by itself or by what stands before it."""
_FIRST_PAUSE_SECONDS = 0.25
_LAST_PAUSE_SECONDS = 10.0
_MUTE = 2
"""So often a stream may stay silent from its begin: then something between keeps it back."""
_BEGIN = b"retry:"
END = "end"

Trouble = RequestError | Unreachable | StrangeAnswer
TROUBLES = (RequestError, Unreachable, StrangeAnswer)

Told = Callable[[Trouble, float], None]
"""Hears of a break, and for how many seconds it is asked again."""


def untold(_error: Trouble, _seconds: float) -> None:
    """Say nothing of a break."""


class Subscription:
    """One stream. A transport sends `request()`, gives what comes to `heard`, and waits for what `broke` says.

    An event `end` is its end; an end without one is a break. `told` hears of a break, once,
    when it has lasted `told_after` seconds. `silence_seconds`: without even a heartbeat for so long, the connection is dead.
    """

    def __init__(
        self,
        origin: Origin,
        request: Request,
        patience: Patience,
        *,
        silence_seconds: float = 45.0,
        told: Told = untold,
        told_after: float = 0.0,
    ) -> None:
        self._origin = origin
        self._request = request
        self._patience = patience
        self._told = told
        self._told_after = told_after
        self._has_told = False
        self._paused, self._pause = 0.0, _FIRST_PAUSE_SECONDS
        self._mute = 0
        self._refused = False
        self._heard_now = False
        self._parser = Parser()
        self.silence_seconds = silence_seconds
        self.heard_any = False
        self.over = False
        """Whether all was told."""

    @property
    def is_mute(self) -> bool:
        """Say whether something between keeps the stream back: who waits for it would wait for ever."""
        return self._mute >= _MUTE

    @property
    def is_kept_back(self) -> bool:
        """Say whether there is no stream here whatever one does: only then another way is worth a try."""
        return self.is_mute or (self._refused and not self.heard_any)

    def request(self) -> Request:
        """Return what is to be asked, to go on behind the last event."""
        last = self._parser.last_id
        self._parser = Parser(last)
        self._heard_now = False
        headers = (("Accept", "text/event-stream"), *((("Last-Event-ID", last),) if last else ()))
        kept = tuple(each for each in self._request.headers if each[0] != "Accept")
        return replace(self._request, headers=(*kept, *headers), timeout_seconds=self.silence_seconds)

    def heard(self, data: bytes) -> list[Sent]:
        """Return the events in what has come."""
        self._heard_now = self.heard_any = True
        self._mute = 0
        news = self._parser.feed(data)
        if news or not data.startswith(_BEGIN):
            # A stream that only begins, again and again, is none: its server cannot read, and would be asked for ever.
            self._paused, self._pause, self._has_told = 0.0, _FIRST_PAUSE_SECONDS, False
        self.over = self.over or any(sent.kind == END for sent in news)
        return [sent for sent in news if sent.kind != END]

    def ended(self, answer: Response) -> Trouble | None:
        """Return what is wrong with an answer that has come to its end, None where all was told."""
        self._refused = answer.status not in PASSING | {200}
        if answer.status >= 300:
            return error_of(self._origin, answer)
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return StrangeAnswer(f"{self._origin} answered with no stream of events")
        return None if self.over else Unreachable(f"{self._origin} broke the connection", sent=True)

    def silent(self) -> Unreachable:
        """Return what a connection is worth on which nothing came for `silence_seconds`."""
        self._mute += not self._heard_now
        return Unreachable(f"{self._origin} did not answer in time", sent=True)

    def broke(self, error: Trouble) -> float:
        """Return after how many seconds to ask again. Raises the error where that is of no use, or patience has ended."""
        if isinstance(error, StrangeAnswer) or self.is_mute:
            raise error
        if isinstance(error, RequestError) and error.status not in PASSING:
            raise error
        gone = isinstance(error, Unreachable) and not error.sent
        limit = self._patience.gone if gone else self._patience.busy
        if self._paused >= limit:
            raise error
        if self._paused >= self._told_after and not self._has_told:
            self._told(error, limit)
            self._has_told = True
        asked = error.retry_after_seconds or 0 if isinstance(error, RequestError) else 0
        # Jitter, so that thousands whose server begins anew do not come in step.
        pause = max(self._pause * random.uniform(0.5, 1.0), float(asked))
        self._paused += pause
        self._pause = min(self._pause * 2, _LAST_PAUSE_SECONDS)
        return pause
