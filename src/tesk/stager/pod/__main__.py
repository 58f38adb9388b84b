"""`python -m tesk.stager.pod inputs|outputs`: one of our two containers of a pod.

Ends with 0 where the protocol was kept, whatever became of the task; 1 where it was not; 2 without a job; 125 where
another one does the same; 143 when told to end.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

from msgspec import DecodeError, json

from tesk.pod import CLOSED, INPUTS, OUTPUTS, STAGER_KEY, AttemptReport, PodJob
from tesk.pod_report import line, room, summary
from tesk.stager.pod.control import Control
from tesk.stager.pod.inputs import bring_in
from tesk.stager.pod.mover import TERMINATED, Mover
from tesk.stager.pod.outputs import take_out

_USAGE = """usage: python -m tesk.stager.pod inputs|outputs [--work FOLDER] [--control FOLDER] [--job FOLDER] [--termination FILE]
"""
_NO_JOB, _ANOTHER = 2, 125


class Places(NamedTuple):
    """Where a pod has what."""

    work: Path = Path("/tesk/work")
    control: Path = Path("/tesk/control")
    job: Path = Path("/tesk/job")
    termination: Path = Path("/dev/termination-log")


def main(arguments: list[str]) -> int:
    """Be the container that the first argument names."""
    container, *options = arguments or [""]
    places = {name[2:]: Path(value) for name, value in zip(options[::2], options[1::2], strict=False)}
    if container not in {INPUTS, OUTPUTS} or len(options) % 2 or not places.keys() <= {*Places._fields}:
        sys.stderr.write(_USAGE)
        return _NO_JOB
    mover = Mover()
    there = Places(**places)
    try:
        job = json.decode(zlib.decompress((there.job / STAGER_KEY).read_bytes(), zlib.MAX_WBITS | 16), type=PodJob)
    except (OSError, zlib.error, DecodeError) as error:
        print(f"tesk {container}: no job in {there.job}: {error}", file=sys.stderr)
        return _NO_JOB
    control = Control(there.control, job)
    root = there.work / "root"
    if container == INPUTS:
        if not bring_in(job, control, root, mover):
            print("tesk inputs: another one is at it, or was taken for dead", file=sys.stderr)
            return _ANOTHER
        end = control.inputs_end()
        if end is not None and end.report.error is not None:
            _leave(CLOSED.encode(), there.termination)
        return 0
    try:
        report = take_out(job, control, root, mover)
    except OSError as error:
        report = AttemptReport(pod=job.pod, attempt=job.attempt, error=f"{error.filename}: {error.strerror}")
    _say(report, room(len(job.executors), job.containers), there.termination)
    if mover.stopped:
        return TERMINATED
    return 0 if report.error is None else 1


def _say(report: AttemptReport, room_bytes: int, termination: Path) -> None:
    """Give the report out twice. The kubelet made the file for the short one."""
    whole = memoryview(line(report) + b"\n")
    while whole:
        whole = whole[os.write(1, whole) :]
    _leave(summary(report, room_bytes), termination)


def _leave(message: bytes, termination: Path) -> None:
    try:
        termination.write_bytes(message)
    except OSError as error:
        print(f"tesk: {error}", file=sys.stderr)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # nobody waits for the tidying of a process that is over
