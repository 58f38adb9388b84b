"""What a run leaves behind: `tesTaskLog`, `tesExecutorLog`, `tesOutputFileLog`."""

from msgspec import Struct


class ExecutorLog(Struct, frozen=True, kw_only=True):
    """`tesExecutorLog`. Exists only for an executor that started. Times are RFC 3339 in UTC; streams are tails."""

    start_time: str | None = None
    end_time: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int = 0


class OutputFileLog(Struct, frozen=True, kw_only=True):
    """`tesOutputFileLog`. `size_bytes` is a decimal number in a string, as the spec has it."""

    url: str
    path: str
    size_bytes: str


class TaskLog(Struct, frozen=True, kw_only=True):
    """`tesTaskLog`: one attempt."""

    logs: tuple[ExecutorLog, ...] = ()
    metadata: dict[str, str] | None = None
    start_time: str | None = None
    end_time: str | None = None
    outputs: tuple[OutputFileLog, ...] = ()
    system_logs: tuple[str, ...] = ()
