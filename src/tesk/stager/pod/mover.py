"""Move the data of a pod's task, in a way that a TERM can end within a second."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from msgspec import json

from tesk.pod import PodJob
from tesk.stager.parallel import Stop
from tesk.transfer import Direction, Progress, Told, TransferReport

TERMINATED = 128 + signal.SIGTERM
_CLEAN_UP_SECONDS = 1.0

Move = Callable[[Direction, PodJob, Path, Stop, Told], TransferReport]


class Mover:
    """Moves data until a TERM comes, which ends this process: at once, or when half of a file has been taken away.

    But not who `follows` executors, which are told as well and soon end: that one looks at `stopped`.
    """

    def __init__(self) -> None:
        self._stop = Stop()
        self._moving = False
        self.follows = False
        # The first process of a container gets no signal that it does not wait for; blocked it is kept until we do. And
        # a transfer may be deep in a library, where no handler runs.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._end, daemon=True).start()

    def move(self, direction: Direction, job: PodJob, root: Path) -> TransferReport:
        """Do what the job says in one direction. The report holds the sentence on what was moved among its warnings."""
        if not (job.transfers.comes_first if direction == "inputs" else job.transfers.outputs):
            return TransferReport()
        # All that talks to other machines is more than half of what starting costs, and many tasks move nothing.
        move: Move = import_module("tesk.stager.pod.move").move
        self._moving = True
        report = move(direction, job, root, self._stop, _say)
        if self._stop.asked:
            os._exit(TERMINATED)
        self._moving = False
        return report

    @property
    def stopped(self) -> bool:
        """Say whether a TERM came."""
        return self._stop.asked

    def _end(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self._stop.ask()
        if self.follows:
            return
        if self._moving:
            # Transfers take their half-made files away when they are told of the next bytes; a silent server tells of none.
            time.sleep(_CLEAN_UP_SECONDS)
        os._exit(TERMINATED)


def _say(progress: Progress) -> None:
    sys.stdout.buffer.write(json.encode(progress) + b"\n")
    sys.stdout.buffer.flush()
