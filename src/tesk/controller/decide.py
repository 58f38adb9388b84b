"""Decide what one task needs next. No clock, no database, no backend."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil, inf

from msgspec.structs import replace

from tesk.compute.backend import Observation, Phase
from tesk.controller.backoff import delay_seconds
from tesk.store.rows import Claimed, Move, Results
from tesk.tes.state import TERMINAL, State
from tesk.tes.task import Task, to_json

TIME_LIMIT = "time_limit_seconds"
"""The backend parameter that every backend has, because the controller keeps it."""

_LONGEST_WAIT_SECONDS = 300.0
_TOLD_MOST = 10
"""Most sentences on why an attempt waits: a scheduler counts nodes, and each count is another sentence."""


class Why(Enum):
    """Why an attempt was asked to stop."""

    CANCELED = auto()
    TIME_LIMIT = auto()
    SHUTDOWN = auto()


STOPPING = {
    Why.TIME_LIMIT: "Asked to end: its time limit is over",
    Why.SHUTDOWN: "Asked to end: its server ends",
}
"""Written down before the attempt is asked: whoever comes after a server that died then must know whose end it was."""


@dataclass(frozen=True, slots=True)
class Start:
    """Nothing of it is there and it should run."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the attempt to end; the next observations say when it has."""

    why: Why
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Forget:
    """Have the backend forget the attempt and make sure of it; then, if something follows, record that."""

    then: Move | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before the backend shows something new, or before `until` (seconds since the epoch)."""

    until: float = inf


Decision = Start | Stop | Move | Forget | Wait


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow. `time_limit_seconds` 0: no limit."""

    attempts: int
    attempts_in_all: int
    time_limit_seconds: float
    retry_seconds: float
    grace_seconds: float


def decide(
    task: Claimed,
    *,
    seen: Observation,
    now: float,
    limits: Limits,
    asked: Stop | None = None,
    shutdown: Stop | None = None,
    ran_seconds: float = 0.0,
    chance: float = 1.0,
    told: Collection[str] = (),
) -> Decision:
    """Return the one next thing to do for a claimed task.

    `seen` is of the task's current attempt. `asked` is the last stop that the backend was asked for, `shutdown` the stop
    that every attempt is to get because the server ends. `ran_seconds`: how long this server has had the attempt, by a
    clock that nobody sets back. `chance`, from 0 to 1, spreads retries. `told` is what was written down already of why it
    waits and was asked to end, by whichever server. A move to RUNNING or to QUEUED may be followed by another decision on the same observation.
    """
    if task.state is State.CANCELING:
        return _cancel(task, seen, now, limits, asked=asked, shutdown=shutdown)
    if task.state in TERMINAL or task.state is State.QUEUED:
        return Wait() if seen.phase is Phase.ABSENT else Forget()
    match seen.phase:
        case Phase.ABSENT:
            if task.state is State.RUNNING:
                return _again(task, seen, now, "What ran of it is gone", due=now, limits=limits)
            if shutdown is not None:
                return _again(task, seen, now, None, due=now, limits=limits)
            return Start()
        case Phase.WAITING | Phase.STAGING:
            if seen.incomplete and asked is None and shutdown is None:
                return Start()
            if seen.waiting is not None and is_news(seen.waiting, told):
                return say(task, seen.waiting, now)
            return _go_on(task, now, limits, asked=asked, shutdown=shutdown, ran_seconds=ran_seconds)
        case Phase.RUNNING | Phase.UPLOADING:
            if task.state is State.INITIALIZING:
                return _running(task, now)
            return _go_on(task, now, limits, asked=asked, shutdown=shutdown, ran_seconds=ran_seconds)
        case Phase.DONE:
            if task.state is State.INITIALIZING:
                return _running(task, now)
            return _end(task, seen, now, State.COMPLETE)
        case Phase.EXECUTOR_FAILED:
            if task.state is State.INITIALIZING:
                return _running(task, now)
            return _end(task, seen, now, State.EXECUTOR_ERROR)
        case Phase.SYSTEM_FAILED | Phase.PREEMPTED:
            if task.state is State.INITIALIZING and seen.executor_logs:
                return _running(task, now)
            why = (
                asked.why if asked is not None else next((why for why, said in STOPPING.items() if said in told), None)
            )
            return _lost(task, seen, now, limits, why=why, chance=chance)


def is_news(sentence: str, told: Collection[str]) -> bool:
    """Say whether why a task waits is to be written down: each sentence once, and not for ever new ones."""
    return sentence not in told and len(told) < _TOLD_MOST


def say(task: Claimed, sentence: str, now: float) -> Move:
    """Return what writes a sentence into the `system_logs` of an attempt and leaves its state."""
    return _move(task, task.state, now, Results(notes=(sentence,)))


def time_limit_seconds(task: Task, limits: Limits) -> float:
    """Return the shorter of the task's own limit and the server's; infinite where there is none."""
    own = inf
    parameters = (task.resources.backend_parameters if task.resources else None) or {}
    for key, value in parameters.items():
        if key.lower() == TIME_LIMIT:
            own = _positive(value)
    return min(own, limits.time_limit_seconds or inf)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return inf
    return number if number > 0 else inf


def _cancel(
    task: Claimed, seen: Observation, now: float, limits: Limits, *, asked: Stop | None, shutdown: Stop | None
) -> Decision:
    # A result that was not stored before the cancel was asked for comes too late: CANCELED wins.
    if not seen.phase.ended:
        grace = limits.grace_seconds if shutdown is None else min(limits.grace_seconds, shutdown.grace_seconds)
        if asked is not None and asked.why is Why.CANCELED and asked.grace_seconds <= grace:
            return Wait()
        return Stop(Why.CANCELED, grace)
    canceled = _end(task, seen, now, State.CANCELED, notes=seen.notes)
    # CANCELED says that nothing is left, so the backend forgets first. A crash between the two loses tails, not truth.
    return canceled if seen.phase is Phase.ABSENT else Forget(then=canceled)


def _go_on(
    task: Claimed, now: float, limits: Limits, *, asked: Stop | None, shutdown: Stop | None, ran_seconds: float
) -> Decision:
    if shutdown is not None and (asked is None or asked.grace_seconds > shutdown.grace_seconds):
        # A second TERM shortens the grace of the first; the reason for an earlier stop stays the reason.
        return Stop(asked.why if asked else shutdown.why, shutdown.grace_seconds)
    if asked is not None:
        return Wait()
    left = time_limit_seconds(task.task, limits) - max(now - task.started, ran_seconds)
    return Stop(Why.TIME_LIMIT, limits.grace_seconds) if left <= 0 else Wait(now + left)


def _lost(task: Claimed, seen: Observation, now: float, limits: Limits, *, why: Why | None, chance: float) -> Decision:
    if seen.phase is Phase.PREEMPTED and why is Why.TIME_LIMIT:
        note = f"Stopped: it ran longer than its time limit of {time_limit_seconds(task.task, limits):g} s"
        return _end(task, seen, now, State.SYSTEM_ERROR, notes=(*seen.notes, note))
    if seen.phase is Phase.SYSTEM_FAILED and seen.final:
        return _end(task, seen, now, State.SYSTEM_ERROR)
    if seen.phase is Phase.PREEMPTED and (seen.ours or why is Why.SHUTDOWN):
        return _again(task, seen, now, seen.reason, due=now, limits=limits)
    failures = task.failures + 1
    if failures >= limits.attempts:
        reason = _and(seen.reason, f"no further attempt after {failures} failed for reasons of the system")
        return _end(task, seen, now, State.SYSTEM_ERROR, notes=(*seen.notes, reason))
    wait = delay_seconds(failures - 1, limits.retry_seconds, _LONGEST_WAIT_SECONDS, chance)
    return _again(task, seen, now, seen.reason, due=now + wait, limits=limits, counts=True)


def _again(
    task: Claimed,
    seen: Observation,
    now: float,
    reason: str | None,
    *,
    due: float,
    limits: Limits,
    counts: bool = False,
) -> Decision:
    if task.attempt >= limits.attempts_in_all:
        reason = _and(reason, f"no further attempt after {task.attempt} in all")
        return _end(task, seen, now, State.SYSTEM_ERROR, notes=(*seen.notes, reason))
    if due > now:
        reason = _and(reason, f"tried again in {ceil(due - now)} s")
    results = _results(task, seen, now, seen.notes if reason is None else (*seen.notes, reason))
    return _move(task, State.QUEUED, now, results, due=due, counts=counts)


def _running(task: Claimed, now: float) -> Move:
    return _move(task, State.RUNNING, now, Results())


def _end(task: Claimed, seen: Observation, now: float, state: State, notes: tuple[str, ...] | None = None) -> Move:
    return _move(task, state, now, _results(task, seen, now, _sentences(seen) if notes is None else notes))


def _move(task: Claimed, new: State, now: float, results: Results, *, due: float = 0.0, counts: bool = False) -> Move:
    return Move(
        task_id=task.id,
        attempt=task.attempt,
        old=task.state,
        new=new,
        time=now,
        results=results,
        due=due,
        counts=counts,
    )


def _and(reason: str | None, what_follows: str) -> str:
    """The reason of an attempt's end and what follows from it, in one: the last sentence of `system_logs` says it all."""
    if reason is None:
        return what_follows[:1].upper() + what_follows[1:]
    if reason.endswith((".", "?")):
        return f"{reason.removesuffix('.')} ({what_follows})"
    return f"{reason}; {what_follows}"


def _sentences(seen: Observation) -> tuple[str, ...]:
    return seen.notes if seen.reason is None else (*seen.notes, seen.reason)


def _results(task: Claimed, seen: Observation, now: float, notes: tuple[str, ...]) -> Results:
    ended = now if seen.phase is Phase.ABSENT else seen.since
    return Results(
        notes=notes,
        metadata=seen.metadata or None,
        end_time=max(ended, task.started),
        executor_logs=seen.executor_logs or None,
        output_logs=seen.output_logs or None,
        body=_typed(task, seen),
    )


def _typed(task: Claimed, seen: Observation) -> bytes | None:
    """Return the body with the types that the run has shown, None where it says so already."""
    inputs, outputs = task.task.inputs or (), task.task.outputs or ()
    found_inputs = {n: seen.input_types.get(n, inputs[n].type) for n in task.extension.untyped_inputs}
    found_outputs = {n: seen.output_types.get(n, outputs[n].type) for n in task.extension.untyped_outputs}
    typed = replace(
        task.task,
        inputs=tuple(replace(entry, type=found_inputs.get(n, entry.type)) for n, entry in enumerate(inputs)),
        outputs=tuple(replace(entry, type=found_outputs.get(n, entry.type)) for n, entry in enumerate(outputs)),
    )
    if (typed.inputs, typed.outputs) == (inputs, outputs):
        return None
    return to_json(typed)
