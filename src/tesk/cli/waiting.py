"""Wait for a task, with its state on the terminal meanwhile, and what goes wrong before it is tried again."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tesk.cli.hearing import hear_ends
from tesk.cli.output import moving, printable, talk
from tesk.cli.session import Session
from tesk.client.answers import Document, list_of, text_of, words_of
from tesk.client.ends import MOST_TASKS, Ends
from tesk.client.subscription import Trouble
from tesk.errors import ClientError, NotEnded, RequestError, StrangeAnswer, Unreachable

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR = "\r\x1b[K"
_FIRST_LOOK_SECONDS = 2.0
_LAST_LOOK_SECONDS = 15.0
"""A task may run for days, and its server has others to answer."""
_TRANSFERS = frozenset({"INITIALIZING", "RUNNING"})


class Spinner:
    """One line on stderr that moves; nothing where stderr is no terminal."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._end = threading.Event()
        self._writing = threading.Lock()
        self._shown = moving(sys.stderr)

    @contextmanager
    def turning(self) -> Iterator["Spinner"]:
        """Turn while the body runs."""
        thread = threading.Thread(target=self._turn, daemon=True)
        if self._shown:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            if self._shown:
                thread.join()
                sys.stderr.write(_CLEAR)
                sys.stderr.flush()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        with self._writing:
            talk(f"{_CLEAR if self._shown else ''}{text}")

    def _turn(self) -> None:
        began = time.monotonic()
        for frame in itertools.cycle(_FRAMES):
            with self._writing:
                sys.stderr.write(f"{_CLEAR}{frame} {self.text} {time.monotonic() - began:.0f} s")
                sys.stderr.flush()
            if self._end.wait(0.1):
                return


class _Story:
    """What went wrong with a task so far, each thing told once."""

    def __init__(self, session: Session, task_id: str, spinner: Spinner) -> None:
        self._session = session
        self._task_id = task_id
        self._spinner = spinner
        self._state = ""
        self._attempts = 0
        self._trouble = ""
        self._waiting: set[str] = set()
        self._ours = True

    def state(self, state: str) -> None:
        """Hear of a state."""
        self._spinner.text = printable(f"{self._task_id} {state}")
        self._state = state

    def look(self) -> None:
        """Say what is new. Other servers tell of lost attempts only: of what is tried again within one, ours."""
        if self._state in _TRANSFERS and self._ours:
            try:
                known = self._session.ask(self._session.calls.details(self._task_id))
            except (RequestError, ClientError):
                self._ours = False
            else:
                self._tell_trouble(known)
                self._tell_waiting(known)
                newest = [text_of(event, "attempt") for event in list_of(known, "events")][-1:]
                if newest and newest[0].isdecimal() and int(newest[0]) <= self._attempts + 1:
                    return
        self._tell_lost(self._session.ask(self._session.calls.get(self._task_id, "FULL")))

    def _tell_trouble(self, known: Document) -> None:
        said = text_of(known, "transfer", "trouble")
        if said and said != self._trouble:
            self._spinner.say(f"{text_of(known, 'transfer', 'direction')}: {printable(said)}")
            self._trouble = said

    def _tell_waiting(self, known: Document) -> None:
        said = text_of(known, "waiting")
        if said and said not in self._waiting:
            self._spinner.say(f"waits: {printable(said)}")
            self._waiting.add(said)

    def _tell_lost(self, task: Document) -> None:
        if text_of(task, "state") not in {*_TRANSFERS, "QUEUED"}:
            return  # how it ended is said at the end
        lost = [log for log in list_of(task, "logs") if text_of(log, "end_time")]
        for number, log in enumerate(lost[self._attempts :], self._attempts + 1):
            why = (words_of(log, "system_logs") or ["was lost"])[-1]
            self._spinner.say(f"attempt {number}: {printable(why)}")
        self._attempts = max(self._attempts, len(lost))


def why_it_waits(session: Session, task_id: str) -> str:
    """Say why a task does not run yet, "" where nothing holds it up, or the server is not ours."""
    try:
        return printable(text_of(session.ask(session.calls.details(task_id)), "waiting"))
    except (RequestError, ClientError):
        return ""


def wait_for(session: Session, task_id: str, timeout_seconds: float | None = None) -> str:
    """Return the state in which a task ended. Raises NotEnded at the timeout."""
    return wait_for_all(session, [task_id], timeout_seconds)[task_id]


def wait_for_all(session: Session, task_ids: Sequence[str], timeout_seconds: float | None = None) -> dict[str, str]:
    """Return the states in which tasks ended, by their ids. Raises NotEnded at the timeout.

    One stream tells of all where the server has it. Else they are waited for in turn.
    """
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    ends = Ends(task_ids)
    if session.can("events") and len(ends.states) <= MOST_TASKS:
        if _hear(session, ends, until):
            return ends.states
        if until is not None and time.monotonic() >= until:
            task_id, state = ends.still()
            raise NotEnded(f"task {task_id} is still {state or 'not seen'} after {timeout_seconds:g} s")
    for task_id in ends.states:
        left = None if until is None else max(0.001, until - time.monotonic())
        ends.states[task_id] = _wait_in_turn(session, task_id, left, timeout_seconds)
    return ends.states


def _hear(session: Session, ends: Ends, until: float | None) -> bool:
    """Wait on one stream of events; say whether all have ended."""
    task_ids = list(ends.states)
    alone = task_ids[0] if len(task_ids) == 1 else ""
    spinner = Spinner(f"{alone or len(task_ids)} ...")
    story = _Story(session, alone, spinner)

    def told(state: str) -> None:
        if alone:
            story.state(state)
        else:
            spinner.text = f"{ends.ended} of {len(task_ids)} tasks have ended"

    def away(error: Trouble, seconds: float) -> None:
        spinner.say(f"{error}; asking again for {seconds:.0f} s")

    subscription = session.calls.events(tasks=task_ids, after="0", told=away)
    with spinner.turning():
        try:
            hear_ends(session, subscription, ends, told=told, look=story.look if alone else None, until=until)
        except (RequestError, Unreachable, StrangeAnswer):
            # What stands between may keep a stream back, or know no such address: a long poll passes everywhere.
            if not subscription.is_kept_back:
                raise
    return ends.over


def _wait_in_turn(session: Session, task_id: str, left_seconds: float | None, timeout_seconds: float | None) -> str:
    spinner = Spinner(f"{task_id} ...")
    story = _Story(session, task_id, spinner)
    until = None if left_seconds is None else time.monotonic() + left_seconds
    look = _FIRST_LOOK_SECONDS
    with spinner.turning():
        while True:
            left = look if until is None else min(look, until - time.monotonic())
            try:
                return session.ask(
                    session.calls.wait(
                        task_id, clock=time.monotonic, timeout_seconds=max(0.001, left), told=story.state
                    )
                )
            except NotEnded as error:
                if until is not None and time.monotonic() >= until:
                    raise NotEnded(str(error).rpartition(" after ")[0] + f" after {timeout_seconds:g} s") from error
            story.look()
            look = min(look * 1.5, _LAST_LOOK_SECONDS)
