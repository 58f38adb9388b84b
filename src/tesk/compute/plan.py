"""From a task to what a backend does for it, in order. Pure."""

from enum import StrEnum

from msgspec import Struct

from tesk.transfer import TransferList


class Shared(StrEnum):
    """How a path of the task's own is shown to its executors."""

    FOLDER = "FOLDER"
    """A folder of the task's, covering what the image has there."""
    INPUT_FILE = "INPUT_FILE"
    """One file in a system folder: bound as it is."""
    OUTPUT_FILE = "OUTPUT_FILE"
    """One file in a system folder: made empty before, written in place."""


class SharedPath(Struct, frozen=True, kw_only=True):
    """One absolute path that all executors of the task see. None of a plan's folders lies in another."""

    path: str
    kind: Shared


class Step(Struct, frozen=True, kw_only=True):
    """One executor. Streams and workdir are absolute paths in the task; None means not asked for."""

    index: int
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    workdir: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    ignore_error: bool


class Plan(Struct, frozen=True, kw_only=True):
    """All that a backend must know of one task. Bytes, cores, seconds; `disk_bytes` 0 means not asked for.

    `transfer.inputs` come first, then `steps` in order, then `transfer.outputs`. `tail_bytes` is how much of each stream
    goes into the ExecutorLog. `parameters` are the supported backend parameters, by lower-case key.
    """

    task_id: str
    name: str | None
    shared: tuple[SharedPath, ...]
    steps: tuple[Step, ...]
    transfer: TransferList
    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    tail_bytes: int
    parameters: dict[str, str]
