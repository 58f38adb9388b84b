"""Tasks as they are, and each again as it changes: by events where the server has them, else by looking again."""

import time
from collections.abc import Iterator
from contextlib import suppress
from math import inf

from tesk.cli.output import talk
from tesk.cli.session import Session
from tesk.client.answers import Document, text_of
from tesk.client.ends import GAP, moved
from tesk.client.subscription import Trouble
from tesk.errors import NotFound

_FIRST_PAUSE_SECONDS = 1.0
_LAST_PAUSE_SECONDS = 15.0


class Watch:
    """Yields pages of tasks for ever: what is there at the begin, and then what has moved."""

    def __init__(
        self,
        session: Session,
        *,
        view: str,
        limit: int,
        state: str | None,
        name_prefix: str | None,
        tags: tuple[tuple[str, str], ...],
    ) -> None:
        self._session = session
        self._view = view
        self._limit = limit
        self._state = state
        self._name_prefix = name_prefix
        self._tags = tags
        self._shown: dict[str, str] = {}

    def pages(self) -> Iterator[list[Document]]:
        """Yield them."""
        return self._by_events() if self._session.can("events") else self._by_looking()

    def _by_events(self) -> Iterator[list[Document]]:
        session, listed = self._session, False
        subscription = session.calls.events(
            states=[self._state] if self._state else [],
            tags=dict(self._tags),
            name_prefix=self._name_prefix or "",
            told=self._away,
        )
        for sent in session.follow(subscription, lambda: inf):
            if not listed or (sent is not None and sent.kind == GAP):
                # What moves from now on is told, so nothing is missed between.
                yield from self._listed()
                listed = True
            if sent is None or not (move := moved(sent)):
                continue
            task_id, state = text_of(move, "id"), text_of(move, "state")
            if self._shown.get(task_id) != state:
                self._shown[task_id] = state
                with suppress(NotFound):  # it was removed meanwhile
                    yield [session.ask(session.calls.get(task_id, self._view)) | {"state": state}]

    def _by_looking(self) -> Iterator[list[Document]]:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            for page in self._listed():
                pause = _FIRST_PAUSE_SECONDS
                yield page
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE_SECONDS)

    def _listed(self) -> Iterator[list[Document]]:
        """Yield those of the list that were not shown so before."""
        for page in self._session.tasks(
            view=self._view, limit=self._limit, state=self._state, name_prefix=self._name_prefix, tags=self._tags
        ):
            news = [task for task in page if self._shown.get(text_of(task, "id")) != text_of(task, "state")]
            self._shown |= {text_of(task, "id"): text_of(task, "state") for task in news}
            if news:
                yield news

    @staticmethod
    def _away(error: Trouble, seconds: float) -> None:
        talk(f"{error}; asking again for {seconds:.0f} s")
