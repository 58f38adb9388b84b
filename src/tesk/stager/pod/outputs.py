"""The container `outputs`: follows the executors, takes outputs out, and says what became of the attempt."""

import time
from pathlib import Path

from tesk.pod import AttemptReport, ExecutorEnd, PodJob
from tesk.stager.pod.control import Control
from tesk.stager.pod.mover import Mover
from tesk.stager.pod.turns import read_end, stops


def take_out(job: PodJob, control: Control, root: Path, mover: Mover) -> AttemptReport:
    """Do the container's work. It may be done again, over what was done already, and comes to the same."""
    control.make()
    end = control.wait_for_inputs()
    if end is None or end.report.error is not None:
        _skip(job, control, 0)
        return AttemptReport(
            pod=job.pod,
            attempt=job.attempt,
            inputs=None if end is None else end.report,
            error="the container `inputs` ended without a word" if end is None else None,
        )
    ends = _follow(job, control, mover)
    if mover.stopped:
        return AttemptReport(
            pod=job.pod, attempt=job.attempt, inputs=end.report, executors=ends, error="the pod was told to end"
        )
    return AttemptReport(
        pod=job.pod,
        attempt=job.attempt,
        inputs=end.report,
        executors=ends,
        # Also after a failure: what exists is wanted.
        outputs=mover.move("outputs", job, root),
    )


def _follow(job: PodJob, control: Control, mover: Mover) -> tuple[ExecutorEnd, ...]:
    """Give one executor after the other its turn and wait for its end, until one of them stops all, or a TERM does."""
    mover.follows = True
    ends: list[ExecutorEnd] = []
    for index, executor in enumerate(job.executors):
        control.give_turn(index, run=True)
        control.wait_for_executor(index)
        end = read_end(
            index,
            control.status(index),
            control.began(index),
            time.time(),
            stdout=control.tail(index, "stdout"),
            stderr=control.tail(index, "stderr"),
        )
        ends.append(end)
        if stops(end, executor) or mover.stopped:
            break
    mover.follows = False
    _skip(job, control, len(ends))
    return tuple(ends)


def _skip(job: PodJob, control: Control, first: int) -> None:
    """Let the executors that have no turn end."""
    for index in range(first, len(job.executors)):
        control.give_turn(index, run=False)
