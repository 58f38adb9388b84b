"""One transfer list as a job for a program: what it is told on stdin, and the doing of it."""

import time
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from tesk.errors import TransferError
from tesk.inside import Inside
from tesk.settings import StorageSettings
from tesk.stager import inputs, outputs
from tesk.stager.parallel import Stop
from tesk.stager.report import TooMany, report
from tesk.storage.schemes import Schemes
from tesk.transfer import TransferList, TransferReport


class Job(Struct, frozen=True, kw_only=True):
    """What `python -m tesk.stager` reads, as one line of JSON: it holds credentials, so it is never an argument.

    `root` is the host folder that stands for the task's `/`; `settings` are in force (nothing left open). `held`: stdin
    stays open for as long as the work is wanted, and its end, which the parent's death brings too, stops it.
    """

    direction: Literal["inputs", "outputs"]
    transfers: TransferList
    root: str
    owner: tuple[int, int] | None
    settings: StorageSettings
    held: bool = False


class Most(NamedTuple):
    """How much is small."""

    files: int
    size_bytes: int


def run(job: Job, stop: Stop, most: Most | None = None) -> TransferReport | None:
    """Do all of the job, in this process; what is wrong is in the report. None: it is more than `most`, nothing was done."""
    began = time.monotonic()
    settings = job.settings
    limit = settings.files_limit if most is None else min(settings.files_limit, most.files)
    with Schemes(settings, job.transfers.caller) as schemes, Inside(Path(job.root)) as inside:
        try:
            found: inputs.Survey | outputs.Survey
            if job.direction == "inputs":
                found = inputs.survey(job.transfers.inputs, schemes, limit=limit, threads=settings.parallel, stop=stop)
            else:
                found = outputs.survey(job.transfers.outputs, inside, limit=limit, stop=stop)
        except TooMany as error:
            return None if limit < settings.files_limit else report([], {}, [], [error], began)
        except TransferError as error:
            return report([], {}, [], [error], began)
        sizes = [piece.size_bytes for piece in found.pieces if not piece.folder]
        if most is not None and (None in sizes or sum(filter(None, sizes)) > most.size_bytes):
            return None
        if isinstance(found, inputs.Survey):
            return inputs.move(
                found, schemes, inside, owner=job.owner, threads=settings.parallel, stop=stop, began=began
            )
        return outputs.move(found, schemes, inside, threads=settings.parallel, stop=stop, began=began)
