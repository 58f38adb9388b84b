"""What was decided, as tables: state and observation in, one decision out."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from tesk.compute.backend import AttemptId, Observation, Phase
from tesk.controller.decide import Forget, Limits, Start, Stop, Wait, Why, decide, time_limit_seconds
from tesk.store.rows import Claimed, Move
from tesk.tes.logs import ExecutorLog
from tesk.tes.state import State, may_move
from tesk.tes.task import Executor, Extension, FileType, Input, Output, Resources, Task

LIMITS = Limits(attempts=3, attempts_in_all=20, time_limit_seconds=0, retry_seconds=5, grace_seconds=10)
SHUTDOWN = Stop(Why.SHUTDOWN, 10)
TASK = Task(executors=(Executor(image="i", command=("true",)),))
STARTED, NOW = 1000.0, 1100.0


def claimed(state=State.INITIALIZING, attempt=1, failures=0, parameters=None):
    return Claimed(
        id="t",
        owner="o",
        state=state,
        attempt=attempt,
        failures=failures,
        place="p",
        started=STARTED,
        unheld_seconds=None,
        task=replace(TASK, resources=Resources(backend_parameters=parameters)),
        extension=Extension(),
        cpu_cores=1,
        ram_bytes=1,
        disk_bytes=0,
    )


def seen(phase, **more):
    return Observation(attempt=AttemptId("t", 1), phase=phase, since=1050.0, **more)


def short(decision):
    """Return a decision as the table writes it."""
    match decision:
        case Move():
            return f"move {decision.new}"
        case Forget(then=None):
            return "forget"
        case Forget(then=move):
            return f"forget, then {move.new}"
        case Stop(why, grace):
            return f"stop {why.name} {grace:g}"
        case Wait(until):
            return "wait" if until == inf else f"wait until {until:g}"
        case Start():
            return "start"


@pytest.mark.parametrize(
    ("state", "phase", "expected"),
    [
        ("INITIALIZING", "ABSENT", "start"),
        ("INITIALIZING", "WAITING", "wait"),
        ("INITIALIZING", "STAGING", "wait"),
        ("INITIALIZING", "RUNNING", "move RUNNING"),
        ("INITIALIZING", "UPLOADING", "move RUNNING"),
        ("INITIALIZING", "DONE", "move RUNNING"),
        ("INITIALIZING", "EXECUTOR_FAILED", "move RUNNING"),
        ("INITIALIZING", "SYSTEM_FAILED", "move QUEUED"),
        ("INITIALIZING", "PREEMPTED", "move QUEUED"),
        ("RUNNING", "ABSENT", "move QUEUED"),
        ("RUNNING", "WAITING", "wait"),
        ("RUNNING", "STAGING", "wait"),
        ("RUNNING", "RUNNING", "wait"),
        ("RUNNING", "UPLOADING", "wait"),
        ("RUNNING", "DONE", "move COMPLETE"),
        ("RUNNING", "EXECUTOR_FAILED", "move EXECUTOR_ERROR"),
        ("RUNNING", "SYSTEM_FAILED", "move QUEUED"),
        ("RUNNING", "PREEMPTED", "move QUEUED"),
        ("CANCELING", "ABSENT", "move CANCELED"),
        ("CANCELING", "WAITING", "stop CANCELED 10"),
        ("CANCELING", "STAGING", "stop CANCELED 10"),
        ("CANCELING", "RUNNING", "stop CANCELED 10"),
        ("CANCELING", "UPLOADING", "stop CANCELED 10"),
        ("CANCELING", "DONE", "forget, then CANCELED"),
        ("CANCELING", "EXECUTOR_FAILED", "forget, then CANCELED"),
        ("CANCELING", "SYSTEM_FAILED", "forget, then CANCELED"),
        ("CANCELING", "PREEMPTED", "forget, then CANCELED"),
        ("QUEUED", "ABSENT", "wait"),
        ("QUEUED", "RUNNING", "forget"),
        ("COMPLETE", "ABSENT", "wait"),
        ("COMPLETE", "DONE", "forget"),
        ("CANCELED", "PREEMPTED", "forget"),
    ],
)
def test_each_state_with_each_phase_has_one_next_thing(state, phase, expected):
    assert short(decide(claimed(State(state)), seen=seen(Phase(phase)), now=NOW, limits=LIMITS)) == expected


@pytest.mark.parametrize(
    ("attempt", "failures", "phase", "more", "new", "counts", "due", "note"),
    [
        (1, 0, "SYSTEM_FAILED", {}, "QUEUED", True, NOW + 5, "it broke; tried again in 5 s"),
        (2, 1, "SYSTEM_FAILED", {}, "QUEUED", True, NOW + 10, "it broke"),
        (3, 2, "SYSTEM_FAILED", {}, "SYSTEM_ERROR", False, 0, "no further attempt after 3 failed"),
        (1, 0, "SYSTEM_FAILED", {"final": True}, "SYSTEM_ERROR", False, 0, "it broke"),
        (1, 0, "PREEMPTED", {}, "QUEUED", True, NOW + 5, "it broke"),
        (3, 2, "PREEMPTED", {}, "SYSTEM_ERROR", False, 0, "no further attempt after 3 failed"),
        (3, 2, "PREEMPTED", {"ours": True}, "QUEUED", False, NOW, "it broke"),
        (19, 0, "PREEMPTED", {"ours": True}, "QUEUED", False, NOW, "it broke"),
        (20, 0, "PREEMPTED", {"ours": True}, "SYSTEM_ERROR", False, 0, "no further attempt after 20 in all"),
        (20, 0, "SYSTEM_FAILED", {}, "SYSTEM_ERROR", False, 0, "no further attempt after 20 in all"),
        (20, 0, "ABSENT", {}, "SYSTEM_ERROR", False, 0, "no further attempt after 20 in all"),
    ],
)
def test_a_lost_attempt_is_tried_again_as_often_as_it_was_decided(
    attempt, failures, phase, more, new, counts, due, note
):
    task = claimed(State.RUNNING, attempt, failures)
    move = decide(task, seen=seen(Phase(phase), reason="it broke", **more), now=NOW, limits=LIMITS)
    assert (move.new, move.counts, move.due) == (new, counts, due)
    assert note in move.results.notes[-1]


def test_retries_wait_a_share_of_a_doubled_while_that_chance_chooses():
    move = decide(claimed(failures=1), seen=seen(Phase.PREEMPTED), now=NOW, limits=LIMITS, chance=0.25)
    assert move.due == NOW + 2.5


@pytest.mark.parametrize("attempt", range(1, 25))
def test_the_failure_of_an_executor_is_never_tried_again(attempt):
    task = claimed(State.RUNNING, attempt)
    assert decide(task, seen=seen(Phase.EXECUTOR_FAILED), now=NOW, limits=LIMITS).new is State.EXECUTOR_ERROR


@pytest.mark.parametrize("phase", ["STAGING", "RUNNING", "UPLOADING"])
def test_a_task_over_its_time_limit_is_stopped_then_ends_as_a_system_error_that_says_so(phase):
    task = claimed(State.RUNNING, parameters={"Time_Limit_Seconds": "60"})
    stop = decide(task, seen=seen(Phase(phase)), now=STARTED + 60, limits=LIMITS)
    assert stop == Stop(Why.TIME_LIMIT, 10)
    assert decide(task, seen=seen(Phase(phase)), now=STARTED + 61, limits=LIMITS, asked=stop) == Wait()
    end = decide(task, seen=seen(Phase.PREEMPTED, ours=True), now=STARTED + 62, limits=LIMITS, asked=stop)
    assert end.new is State.SYSTEM_ERROR
    assert "longer than its time limit of 60 s" in end.results.notes[-1]


def test_a_task_within_its_time_limit_is_looked_at_again_when_the_limit_is_reached():
    task = claimed(State.RUNNING, parameters={"time_limit_seconds": "600"})
    assert decide(task, seen=seen(Phase.RUNNING), now=NOW, limits=LIMITS) == Wait(until=STARTED + 600)


def test_a_clock_that_was_set_back_gives_a_task_no_more_time():
    task = claimed(State.RUNNING, parameters={"time_limit_seconds": "600"})
    early = STARTED - 3600
    assert decide(task, seen=seen(Phase.RUNNING), now=early, limits=LIMITS, ran_seconds=599) == Wait(until=early + 1)
    stop = decide(task, seen=seen(Phase.RUNNING), now=early, limits=LIMITS, ran_seconds=600)
    assert stop == Stop(Why.TIME_LIMIT, 10)


def test_a_task_that_was_done_before_it_could_be_stopped_keeps_its_result():
    task = claimed(State.RUNNING)
    stop = Stop(Why.TIME_LIMIT, 10)
    assert decide(task, seen=seen(Phase.DONE), now=NOW, limits=LIMITS, asked=stop).new is State.COMPLETE


@pytest.mark.parametrize(
    ("own", "server", "expected"),
    [
        (None, 0, inf),
        ("60", 0, 60),
        (None, 30, 30),
        ("60", 30, 30),
        ("10.5", 30, 10.5),
        ("soon", 30, 30),
        ("0", 0, inf),
    ],
)
def test_the_shorter_time_limit_counts(own, server, expected):
    task = claimed(parameters=None if own is None else {"time_limit_seconds": own}).task
    limits = Limits(3, 20, time_limit_seconds=server, retry_seconds=5, grace_seconds=10)
    assert time_limit_seconds(task, limits) == expected


@pytest.mark.parametrize(
    ("state", "phase", "asked", "shutdown", "expected"),
    [
        ("RUNNING", "RUNNING", None, SHUTDOWN, "stop SHUTDOWN 10"),
        ("INITIALIZING", "STAGING", None, SHUTDOWN, "stop SHUTDOWN 10"),
        ("RUNNING", "UPLOADING", SHUTDOWN, SHUTDOWN, "wait"),
        ("RUNNING", "RUNNING", SHUTDOWN, Stop(Why.SHUTDOWN, 0), "stop SHUTDOWN 0"),
        ("RUNNING", "RUNNING", Stop(Why.TIME_LIMIT, 10), Stop(Why.SHUTDOWN, 0), "stop TIME_LIMIT 0"),
        ("CANCELING", "RUNNING", Stop(Why.CANCELED, 10), Stop(Why.SHUTDOWN, 0), "stop CANCELED 0"),
        ("CANCELING", "RUNNING", Stop(Why.CANCELED, 10), SHUTDOWN, "wait"),
        ("CANCELING", "RUNNING", SHUTDOWN, SHUTDOWN, "stop CANCELED 10"),
        ("INITIALIZING", "ABSENT", None, SHUTDOWN, "move QUEUED"),
        ("RUNNING", "DONE", SHUTDOWN, SHUTDOWN, "move COMPLETE"),
    ],
)
def test_when_the_server_ends_attempts_are_stopped_once_and_results_still_count(
    state, phase, asked, shutdown, expected
):
    decision = decide(
        claimed(State(state)), seen=seen(Phase(phase)), now=NOW, limits=LIMITS, asked=asked, shutdown=shutdown
    )
    assert short(decision) == expected


def test_what_was_seen_goes_into_the_task_log():
    log = ExecutorLog(exit_code=0, stdout="out")
    observation = seen(
        Phase.DONE, executor_logs=(log,), metadata={"sandbox": "bwrap"}, notes=("a pattern matched nothing",)
    )
    results = decide(claimed(State.RUNNING), seen=observation, now=NOW, limits=LIMITS).results
    assert results.executor_logs == (log,)
    assert results.metadata == {"sandbox": "bwrap"}
    assert results.notes == ("a pattern matched nothing",)
    assert results.end_time == 1050.0


stops = st.none() | st.builds(Stop, st.sampled_from(Why), st.sampled_from([0.0, 10.0]))


@given(
    state=st.sampled_from([State.INITIALIZING, State.RUNNING, State.CANCELING]),
    attempt=st.integers(1, 25),
    failures=st.integers(0, 5),
    phase=st.sampled_from(Phase),
    final=st.booleans(),
    ours=st.booleans(),
    ran=st.booleans(),
    now=st.floats(0, 5000),
    asked=stops,
    shutdown=st.none() | st.builds(Stop, st.just(Why.SHUTDOWN), st.sampled_from([0.0, 10.0])),
    chance=st.floats(0, 1),
)
def test_every_decision_is_legal_and_no_new_attempt_begins_beside_an_old_one(
    state, attempt, failures, phase, final, ours, ran, now, asked, shutdown, chance
):
    task = claimed(state, attempt, failures, parameters={"time_limit_seconds": "60"})
    observation = seen(phase, final=final, ours=ours, executor_logs=(ExecutorLog(),) if ran else ())
    decision = decide(task, seen=observation, now=now, limits=LIMITS, asked=asked, shutdown=shutdown, chance=chance)
    match decision:
        case Move():
            assert may_move(decision.old, decision.new)
            assert (decision.old, decision.attempt) == (state, attempt)
            if decision.new is not State.RUNNING:
                assert phase.ended
            if decision.new is State.QUEUED:
                assert attempt < LIMITS.attempts_in_all
                shut_down = phase is Phase.PREEMPTED and asked is not None and asked.why is Why.SHUTDOWN
                assert failures < LIMITS.attempts or ours or phase is Phase.ABSENT or shut_down
                assert shutdown is None or asked is not None or phase.ended
        case Forget(then=move):
            assert move is not None
            assert move.new is State.CANCELED
            assert phase.ended
        case Stop():
            assert not phase.ended
        case Wait():
            assert not phase.ended
        case Start():
            assert phase is Phase.ABSENT
            assert state is State.INITIALIZING
            assert shutdown is None


def test_what_the_run_showed_of_types_goes_into_the_body_and_nothing_else_does():
    task = replace(
        TASK,
        inputs=(Input(path="/a", url="/x", type=FileType.FILE), Input(path="/b", content="b", type=FileType.FILE)),
        outputs=(Output(path="/c", url="/y", type=FileType.FILE),),
    )
    untyped = replace(claimed(State.RUNNING), task=task, extension=Extension(untyped_inputs=(0,), untyped_outputs=(0,)))
    shown = seen(Phase.DONE, input_types={0: FileType.FILE}, output_types={0: FileType.DIRECTORY})
    body = json.decode(decide(untyped, seen=shown, now=NOW, limits=LIMITS).results.body, type=Task)
    assert body == replace(task, outputs=(Output(path="/c", url="/y", type=FileType.DIRECTORY),))
    shown = seen(Phase.DONE, input_types={0: FileType.FILE}, output_types={0: FileType.FILE})
    assert decide(untyped, seen=shown, now=NOW, limits=LIMITS).results.body is None
    assert decide(claimed(State.RUNNING), seen=seen(Phase.DONE), now=NOW, limits=LIMITS).results.body is None


def test_why_an_attempt_waits_is_written_down_once_and_not_for_ever_anew():
    waits = seen("WAITING", waiting="0/3 nodes are available")
    first = decide(claimed(), seen=waits, now=NOW, limits=LIMITS)
    assert isinstance(first, Move)
    assert (first.old, first.new, first.results.notes) == (State.INITIALIZING, State.INITIALIZING, (waits.waiting,))
    assert decide(claimed(), seen=waits, now=NOW, limits=LIMITS, told=(waits.waiting,)) == Wait()
    others = [f"{count}/3 nodes are available" for count in range(10, 20)]
    assert decide(claimed(), seen=waits, now=NOW, limits=LIMITS, told=others) == Wait()


def test_a_start_that_broke_off_is_made_again_unless_it_is_to_end():
    half = seen(Phase.STAGING, incomplete=True)
    stop = Stop(Why.SHUTDOWN, 5)
    assert decide(claimed(), seen=half, now=NOW, limits=LIMITS) == Start()
    assert decide(claimed(), seen=half, now=NOW, limits=LIMITS, shutdown=stop) == stop
    assert short(decide(claimed(State.CANCELING), seen=half, now=NOW, limits=LIMITS)).startswith("stop CANCELED")
