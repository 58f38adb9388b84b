"""The container `inputs`: brings inputs in, waits for all executors, and gives the first one its turn."""

import contextlib
import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from tesk.errors import TransferFailed
from tesk.inside import Inside
from tesk.pod import InputsEnd, PodJob
from tesk.stager.pod.control import Control
from tesk.stager.pod.mover import Mover
from tesk.stager.report import told
from tesk.transfer import TransferReport


def bring_in(job: PodJob, control: Control, root: Path, mover: Mover) -> bool:
    """Do the container's work, once; again it only gives the turn that it may not have given. False: another one is at it."""
    control.make()
    if not control.hold_inputs():
        return control.inputs_end() is not None
    end = control.inputs_end()
    if end is None:
        os.umask(0)
        report = _fetch(job, root, mover)
        if report.error is None:
            control.wait_for_check_ins()
            report = _opened(job, root, report)  # what the kubelet made meanwhile
        end = InputsEnd(pod=job.pod, report=replace(report, files=()))
        # From here on the executors may run: whoever finds this gives the turn, also when we are killed now.
        control.end_inputs(end)
    if end.report.error is None:
        control.give_turn(0, run=True)
    return True


def _fetch(job: PodJob, root: Path, mover: Mover) -> TransferReport:
    with contextlib.suppress(FileExistsError):
        root.mkdir(parents=True)
    report = _opened(job, root, TransferReport())
    return mover.move("inputs", job, root) if report.error is None else report


def _opened(job: PodJob, root: Path, report: TransferReport) -> TransferReport:
    """Make the task's folders, and open them to any user; the report says what went wrong."""
    try:
        with Inside(root) as inside:
            for folder in job.folders:
                inside.make_folders(folder)
            for folder in {*_with_those_above(job.folders), *_with_those_above(_places(job))}:
                there = inside.stat(folder)
                with contextlib.suppress(PermissionError):  # the kubelet's, and we are nobody special
                    if there is not None and there.st_mode & 0o777 != 0o777:
                        inside.chmod(folder, there.st_mode & 0o7777 | 0o777)
    except OSError as error:
        failed = told(error, str(error.filename))
        return replace(report, error=str(failed), retry=isinstance(failed, TransferFailed))
    return report


def _places(job: PodJob) -> Iterator[str]:
    """The folders in which inputs lie."""
    return (posixpath.dirname(posixpath.normpath(fetch.path)) for fetch in job.transfers.inputs)


def _with_those_above(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        at = posixpath.normpath(folder)
        while at.strip("/"):
            yield at
            at = posixpath.dirname(at)
        yield "/"
