"""From a pod that is over and its report to the whole truth about its attempt. Pure."""

from collections.abc import Iterator

from tesk.compute.backend import SEPARATE, AttemptId, Observation, Phase, Piece, Stream
from tesk.compute.kubernetes.memo import Memo, memo
from tesk.compute.kubernetes.objects import Pod
from tesk.compute.kubernetes.pod_status import Reading, container, has_begun
from tesk.compute.machine.refused import NOT_FOUND, refused
from tesk.pod import EXECUTOR, AttemptReport, ExecutorEnd
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.times import rfc3339

_KILLED = 137
_NO_LOG = "The log of the pod could not be read; of the streams and output files only a part is known."
_NO_REPORT = "What the pod reported was lost with it: its streams and output files are not known."
_OUT_OF_MEMORY = "out-of-memory"
_NOT_FOUND = "command not found: "
_NOT_EXECUTABLE = "cannot be executed: "


def observation(attempt: AttemptId, pod: Pod, reading: Reading, report: AttemptReport | None) -> Observation:
    """Return what became of an attempt whose pod is over. `report` is None where none was left."""
    known = memo(pod)
    if report is None:
        return Observation(
            attempt=attempt,
            phase=reading.phase,
            since=reading.since,
            reason=reading.reason,
            final=reading.final,
            ours=reading.ours,
            notes=(_NO_REPORT,) if has_begun(pod) and reading.phase is not Phase.SYSTEM_FAILED else (),
            metadata=facts(pod, known),
        )
    phase, reason, final = _judge(report, known)
    notes = tuple(_notes(pod, report, known))
    if reading.disturbed and not _is_its_own(pod, report, phase):
        phase, reason, final, ours = reading.phase, reading.reason, reading.final, reading.ours
    else:
        ours = False
    if report.outputs is not None and report.outputs.error is not None and report.outputs.error != reason:
        notes = (*notes, report.outputs.error)
    return Observation(
        attempt=attempt,
        phase=phase,
        # Kubernetes tells times in whole seconds.
        since=max(reading.since, *(end.ended or 0.0 for end in report.executors), 0.0),
        reason=reason,
        final=final,
        ours=ours,
        notes=notes,
        executor_logs=tuple(_logs(pod, report)),
        output_logs=tuple(
            OutputFileLog(url=file.url, path=file.path, size_bytes=str(file.size_bytes))
            for file in (report.outputs.files if report.outputs is not None else ())
        ),
        metadata=facts(pod, known) | _sizes(report),
        input_types=report.inputs.types if report.inputs is not None else {},
        output_types=report.outputs.types if report.outputs is not None else {},
    )


def tails(result: Observation, executor: int, stream: Stream) -> Iterator[Piece]:
    """Yield what is known of an executor's stream at its end, and the end."""
    log = result.executor_logs[executor] if executor < len(result.executor_logs) else ExecutorLog()
    for name in SEPARATE:
        if stream in ("combined", name):
            data = ((log.stdout if name == "stdout" else log.stderr) or "").encode()
            size = int(result.metadata.get(f"executors.{executor}.{name}_size_bytes", len(data)))
            if data:
                yield Piece(name, size - len(data), data)
            yield Piece(name, size, b"")


def facts(pod: Pod, known: Memo) -> dict[str, str]:
    """Return what a TaskLog says of where and of what it ran."""
    said = {"kubernetes.namespace": pod.metadata.namespace, "kubernetes.pod": pod.metadata.name}
    if pod.spec.node_name:
        said["kubernetes.node"] = pod.spec.node_name
    for index, image in enumerate(known.images):
        said[f"executors.{index}.image"] = image
        if digest := container(pod, EXECUTOR.format(index)).image_id:
            said[f"executors.{index}.image_digest"] = digest.rpartition("@")[2]
    return said


def _sizes(report: AttemptReport) -> dict[str, str]:
    return {
        f"executors.{end.index}.{stream}_size_bytes": str(size)
        for end in report.executors
        for stream, size in _cut(end)
    }


def _judge(report: AttemptReport, known: Memo) -> tuple[Phase, str | None, bool]:
    inputs, outputs = report.inputs, report.outputs
    if inputs is not None and inputs.error is not None:
        return Phase.SYSTEM_FAILED, inputs.error, not inputs.retry
    for end in report.executors:
        if end.exit_code is None and not end.killed and end.error is not None:
            return Phase.SYSTEM_FAILED, f"executors[{end.index}]: {end.error}.", not end.lost
    if report.error is not None:
        return Phase.SYSTEM_FAILED, report.error, False
    if any(_failed(end, known) for end in report.executors):
        return Phase.EXECUTOR_FAILED, None, False
    if outputs is not None and outputs.error is not None:
        return Phase.SYSTEM_FAILED, outputs.error, not outputs.retry
    return Phase.DONE, None, False


def _failed(end: ExecutorEnd, known: Memo) -> bool:
    return (end.killed or bool(end.exit_code)) and end.index not in known.ignored


def _is_its_own(pod: Pod, report: AttemptReport, phase: Phase) -> bool:
    """Say whether it ended by itself though somebody wanted its end, too: TERM makes programs fail.

    Not by times: those of a deletion are of the API server's clock, those of a program of its node's.
    """
    if phase is Phase.DONE:
        return True
    if phase is not Phase.EXECUTOR_FAILED or (report.outputs is not None and report.outputs.error is not None):
        return False
    return not any(end.told or (end.killed and not _took_too_much(pod, end)) for end in report.executors)


def _took_too_much(pod: Pod, end: ExecutorEnd) -> bool:
    over = container(pod, EXECUTOR.format(end.index)).state.terminated
    return over is not None and over.reason == "OOMKilled"


def _logs(pod: Pod, report: AttemptReport) -> Iterator[ExecutorLog]:
    for end in report.executors:
        if end.exit_code is None and not end.killed:
            continue
        started, ended = end.started, end.ended
        over = container(pod, EXECUTOR.format(end.index)).state.terminated
        if over is not None:
            started = started or (over.started_at.timestamp() if over.started_at else None)
            ended = ended or (over.finished_at.timestamp() if over.finished_at else None)
        yield ExecutorLog(
            start_time=rfc3339(started) if started else None,
            end_time=rfc3339(ended) if ended else None,
            stdout=end.stdout,
            stderr=end.stderr,
            exit_code=_code(pod, end),
        )


def _code(pod: Pod, end: ExecutorEnd) -> int:
    if end.exit_code is not None:
        return end.exit_code
    over = container(pod, EXECUTOR.format(end.index)).state.terminated
    return (over.exit_code if over is not None else 0) or _KILLED


def _refused(end: ExecutorEnd, error: str, known: Memo) -> str:
    """Say what a shim says in the words that all backends have for a program that could not be run."""
    where = f"in image {known.images[end.index]}" if end.index < len(known.images) else "in its image"
    if (program := error.removeprefix(_NOT_FOUND)) != error:
        return refused(end.index, program, NOT_FOUND, where)
    program, _, why = error.removeprefix(_NOT_EXECUTABLE).rpartition(": ")
    if program and error.startswith(_NOT_EXECUTABLE):
        return refused(end.index, program, end.exit_code or 0, f"{where}: {why}")
    return f"executors[{end.index}]: {error}."


def _cut(end: ExecutorEnd) -> Iterator[tuple[str, int]]:
    """Streams of which more was written than their tails hold. What is no UTF-8 takes three bytes for one."""
    for stream, text, size in (("stdout", end.stdout, end.stdout_bytes), ("stderr", end.stderr, end.stderr_bytes)):
        if size > len(text.encode()):
            yield stream, size


def _notes(pod: Pod, report: AttemptReport, known: Memo) -> Iterator[str]:
    for end in report.executors:
        if (_took_too_much(pod, end) and _code(pod, end) != 0) or _OUT_OF_MEMORY in (end.error or ""):
            limit = f" (limit {known.ram_bytes / 1e9:.3g} GB)" if known.ram_bytes else ""
            yield f"executors[{end.index}]: out of memory{limit}."
        elif end.killed:
            yield f"executors[{end.index}]: it was killed from outside."
        elif end.error is not None and end.exit_code is not None:
            yield _refused(end, end.error, known)
        for stream, size in _cut(end):
            yield f"executors[{end.index}]: of the {size} bytes of {stream} only the end is in its log."
    for moved in (report.inputs, report.outputs):
        if moved is not None:
            yield from moved.warnings
    if report.cut:
        yield _NO_LOG
