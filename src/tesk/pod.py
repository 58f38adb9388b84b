"""What the containers of one pod tell each other and the controller: the jobs, the control folder, the report.

A pod is one attempt. Its secret holds the jobs, gzipped JSON each: `stager` for the containers `inputs` and `outputs`,
`executor-<n>` for the shim of one executor. Its control volume has a folder for each container that must be waited for,
`executors/<n>` and `inputs`; an executor sees its own alone. What stands in them is the protocol of the shim, version 1,
on the page docs/shim.md. The report goes out as the last line of the log of `outputs`, and cut short in its termination
message.
"""

from typing import Final

from msgspec import Struct

from tesk.settings import StorageSettings
from tesk.transfer import TransferList, TransferReport

STAGER_KEY: Final = "stager"
EXECUTOR_KEY: Final = "executor-{}"

INPUTS: Final = "inputs"
OUTPUTS: Final = "outputs"
EXECUTOR: Final = "executor-{}"
"""Names of the containers."""

CLOSED: Final = "closed"
"""Termination message of `inputs` where it opened nothing: no executor has run, or will."""

SUMMARY_BYTES: Final = 4096
"""Most that Kubernetes keeps of a termination message."""
SUMMARIES_BYTES: Final = 12288
"""What all containers of a pod, also init containers and those that others put in, may have of it, each the same part."""
REPORT_BYTES: Final = 8 * 1024 * 1024
"""Most that a report may take as a line of a log; a larger one is cut as the summary is."""


class ShimJob(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="executor/1"):
    """What one executor's shim does. `pod` is the uid of its pod; paths are absolute, as the program sees them.

    `workdir_made`: a working directory that the image may lack; the folder that stands for it then.
    """

    pod: str
    index: int
    command: tuple[str, ...]
    env: dict[str, str] = {}
    workdir: str | None = None
    workdir_made: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    tail_bytes: int = 65536


class ShimStatus(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="status/1"):
    """How one executor ended, written by its shim in one rename. Seconds since the epoch.

    `exit_code` is that of the program, 128 + signal where a signal ended it, 127 not found, 126 not executable. None:
    the program did not run, since it was not its turn (`skipped`) or for the reason in `error`. `error` beside a code says more about
    it, for a person. `told`: a signal came for the program before it ended. `stdout_bytes` and `stderr_bytes`: how much the
    program wrote in all.
    """

    pod: str
    index: int
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float = 0.0
    skipped: bool = False
    told: bool = False
    error: str | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0


class CheckIn(Struct, frozen=True, kw_only=True, tag_field="tesk", tag="here/1"):
    """What a shim says when its image is there and it waits for its turn."""

    pod: str
    index: int


RUN: Final = "run"
SKIP: Final = "skip"
"""The turns that the stager gives."""


class InputsEnd(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="inputs/1"):
    """How the container `inputs` ended. Without an error in its report the first executor may run."""

    pod: str
    report: TransferReport


class PodExecutor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the stager must know of one executor."""

    ignore_error: bool = False
    tail_bytes: int = 65536


class PodJob(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="pod/1"):
    """What the containers `inputs` and `outputs` do. `pod` is the uid of their pod, `attempt` its `<task>-<number>`.

    `settings` are in force, with the credentials that this task's data needs and no others. `folders` are made before the
    first executor runs, and open to any user with those above them; `singles` are files that are mounted by themselves,
    so they are written in place. `containers`: how many the pod has, with those that others put into it; 0: not known.
    """

    pod: str
    attempt: str
    transfers: TransferList
    settings: StorageSettings
    executors: tuple[PodExecutor, ...]
    folders: tuple[str, ...] = ()
    singles: tuple[str, ...] = ()
    containers: int = 0


class ExecutorEnd(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One executor that had its turn. Tails are text.

    `stdout_bytes` and `stderr_bytes` are how much it wrote in all, 0 where that is not known.
    `exit_code` None: its shim went away without a word while the program ran (`killed`), or the program never ran, and
    `error` says why. `lost`: then not through the task or its image; its container went away while it waited for its turn.
    `told`: a signal came for the program before it ended, so that its end may be somebody else's.
    """

    index: int
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    stdout: str = ""
    stderr: str = ""
    error: str | None = None
    killed: bool = False
    lost: bool = False
    told: bool = False
    stdout_bytes: int = 0
    stderr_bytes: int = 0


class AttemptReport(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="attempt/1"):
    """All that became of an attempt, as its pod says it. `error`: the protocol itself was not kept, and how.

    The warnings of the transfers hold the sentence on what they moved (`tesk.transfer.summary`), too; the files of
    `inputs` are left out. `cut`: tails, files and long sentences were left out, since it would not have fit.
    `tesk.pod_report` writes and reads it.
    """

    pod: str
    attempt: str
    inputs: TransferReport | None = None
    executors: tuple[ExecutorEnd, ...] = ()
    outputs: TransferReport | None = None
    error: str | None = None
    cut: bool = False


class PackedReport(Struct, frozen=True, kw_only=True, tag_field="tesk", tag="attempt/1+zlib"):
    """An AttemptReport that was large: its JSON, by zlib and base64."""

    data: str
