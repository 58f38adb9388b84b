"""One transfer list as a job for a program: what it is told on stdin, and the doing of it."""

import time
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from tesk.errors import TransferError
from tesk.inside import Inside
from tesk.settings import StorageSettings
from tesk.stager import inputs, outputs
from tesk.stager.meter import Meter
from tesk.stager.parallel import Stop
from tesk.stager.report import TooMany, report
from tesk.stager.trouble import Trouble
from tesk.storage.patience import hearing
from tesk.storage.schemes import Schemes
from tesk.storage.url import scheme_of
from tesk.transfer import Direction, Fetch, Told, TransferList, TransferReport

_NEAR = frozenset({"data", "file"})
"""What other schemes do waits for other machines."""


class Job(Struct, frozen=True, kw_only=True):
    """What `python -m tesk.stager` reads, as one line of JSON: it holds credentials, so it is never an argument.

    `root` is the host folder that stands for the task's `/`; `settings` are in force (nothing left open). `held`: stdin
    stays open for as long as the work is wanted, and its end, which the parent's death brings too, stops it. `everything`:
    where executors may be anybody, they may also change what arrives. `in_place`: files of the task's that are there
    already, and that others have open or mounted.
    """

    direction: Direction | Literal["streams"]
    transfers: TransferList
    root: str
    owner: tuple[int, int] | None
    settings: StorageSettings
    held: bool = False
    everything: bool = False
    in_place: frozenset[str] = frozenset()


class Most(NamedTuple):
    """How much is small. What comes from or goes to another machine never is."""

    files: int
    size_bytes: int


def run(job: Job, stop: Stop, most: Most | None = None, told: Told | None = None) -> TransferReport | None:
    """Do all of the job, in this process; what is wrong is in the report. None: it is more than `most`, nothing was done.

    `told` hears once a second how far it is.
    """
    began = time.monotonic()
    settings = job.settings
    limit = settings.files_limit if most is None else min(settings.files_limit, most.files)
    if most is not None and not _near(job):
        return None
    if job.direction == "inputs":
        meter = Meter("inputs", stop, limit_bytes=settings.input_bytes_limit)
    else:
        meter = Meter("outputs", stop, limit_bytes=settings.output_bytes_limit)
    # It hears of all that this program moves; what has trouble, with other machines, has a program of its own.
    trouble = Trouble()
    with (
        Schemes(settings, job.transfers.caller) as schemes,
        Inside(Path(job.root)) as inside,
        hearing(trouble.hear),
        meter.telling(told, trouble.now),
    ):
        try:
            found: inputs.Survey | outputs.Survey
            if job.direction == "inputs":
                outputs.look(job.transfers.outputs, schemes, stop)
                found = inputs.survey(
                    job.transfers.inputs,
                    schemes,
                    # One that is read holds its connection, so more of them might wait for each other.
                    pipes=job.transfers.pipes[: settings.connections_per_host],
                    limit=limit,
                    threads=settings.parallel,
                    stop=stop,
                )
            else:
                found = outputs.survey(job.transfers.outputs, inside, limit=limit, stop=stop)
            sizes = [piece.size_bytes for piece in found.pieces if not piece.folder]
            if most is not None and (None in sizes or sum(filter(None, sizes)) > most.size_bytes):
                return None
            meter.expect(sizes)
        except TooMany as error:
            return None if limit < settings.files_limit else report([], {}, [], [error], began)
        except TransferError as error:
            return report([], {}, [], [error], began)
        if isinstance(found, inputs.Survey):
            return inputs.move(
                found,
                schemes,
                inside,
                owner=job.owner,
                anybody=job.transfers.anybody,
                everything=job.everything,
                in_place=job.in_place,
                threads=settings.parallel,
                stop=stop,
                meter=meter,
                began=began,
            )
        return outputs.move(found, schemes, inside, threads=settings.parallel, stop=stop, meter=meter, began=began)


def _near(job: Job) -> bool:
    """Say whether no other machine has a part in it."""
    moves = job.transfers.inputs if job.direction == "inputs" else job.transfers.outputs
    return not any(one.in_bucket for one in job.transfers.outputs) and all(
        scheme_of(one.url or "") in _NEAR or (isinstance(one, Fetch) and one.content is not None and not one.url)
        for one in moves
    )
