"""Move the data of a pod's task, in a way that a TERM can end within a second."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from msgspec import json
from msgspec.structs import replace

from tesk.pod import PodJob
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.transfer import Direction, Progress, TransferReport, summary

TERMINATED = 128 + signal.SIGTERM
_CLEAN_UP_SECONDS = 1.0


class Mover:
    """Moves data until a TERM comes, which ends this process: at once, or when half of a file has been taken away."""

    def __init__(self) -> None:
        self._stop = Stop()
        self._moving = False
        # The first process of a container gets no signal that it does not wait for; blocked it is kept until we do. And
        # a transfer may be deep in a library, where no handler runs.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._end, daemon=True).start()

    def move(self, direction: Direction, job: PodJob, root: Path) -> TransferReport:
        """Do what the job says in one direction. The report holds the sentence on what was moved among its warnings."""
        if not (job.transfers.inputs if direction == "inputs" else job.transfers.outputs):
            return TransferReport()
        self._moving = True
        report = run(
            Job(
                direction=direction,
                transfers=replace(job.transfers, anybody=True),
                root=str(root),
                owner=None,
                settings=job.settings,
                everything=True,
                in_place=frozenset(job.singles),
            ),
            self._stop,
            told=_say,
        )
        if self._stop.asked:
            os._exit(TERMINATED)
        self._moving = False
        assert report is not None  # nothing is too much
        moved = summary(direction, report)
        return replace(report, warnings=(*report.warnings, moved)) if moved else report

    def _end(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self._stop.ask()
        if self._moving:
            # Transfers take their half-made files away when they are told of the next bytes; a silent server tells of none.
            time.sleep(_CLEAN_UP_SECONDS)
        os._exit(TERMINATED)


def _say(progress: Progress) -> None:
    sys.stdout.buffer.write(json.encode(progress) + b"\n")
    sys.stdout.buffer.flush()
