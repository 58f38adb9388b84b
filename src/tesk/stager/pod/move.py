"""The transfer of a pod's task: a job for the stager, and the report with its sentence. Imported only where data moves."""

from pathlib import Path

from msgspec.structs import replace

from tesk.pod import PodJob
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.transfer import Direction, Told, TransferReport, summary


def move(direction: Direction, job: PodJob, root: Path, stop: Stop, told: Told) -> TransferReport:
    """Do what the job says in one direction. The report holds the sentence on what was moved among its warnings."""
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
        stop,
        told=told,
    )
    assert report is not None  # nothing is too much
    moved = summary(direction, report)
    return replace(report, warnings=(*report.warnings, moved)) if moved else report
