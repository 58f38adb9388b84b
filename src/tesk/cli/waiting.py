"""Wait for a task, with its state on the terminal meanwhile."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tesk.cli.output import moving
from tesk.cli.session import Session

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR = "\r\x1b[K"


class Spinner:
    """One line on stderr that moves; nothing where stderr is no terminal."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._end = threading.Event()
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

    def _turn(self) -> None:
        began = time.monotonic()
        for frame in itertools.cycle(_FRAMES):
            sys.stderr.write(f"{_CLEAR}{frame} {self.text} {time.monotonic() - began:.0f} s")
            sys.stderr.flush()
            if self._end.wait(0.1):
                return


def wait_for(session: Session, task_id: str, timeout_seconds: float | None = None) -> str:
    """Return the state in which a task ended."""
    spinner = Spinner(f"{task_id} ...")

    def told(state: str) -> None:
        spinner.text = f"{task_id} {state}"

    with spinner.turning():
        return session.ask(
            session.calls.wait(task_id, clock=time.monotonic, timeout_seconds=timeout_seconds, told=told)
        )
