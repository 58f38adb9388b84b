"""Two servers of one installation on one PostgreSQL, of which one dies, or is silent, in the middle."""

import signal

import pytest

from cluster.faults.load import Load
from cluster.faults.stage import SEED, Stage

QUICK = {"CONTROLLER_LEASE_SECONDS": "3", "CONTROLLER_SWEEP_SECONDS": "1"}


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "silent"])
def test_what_one_server_began_the_other_one_ends(stage: Stage, postgres_url, silent):
    settings = QUICK | {"DATABASE": postgres_url}
    (first, asks_first), (_, asks_second) = (stage.serving(name, **settings) for name in ("first", "second"))
    early = Load(stage, asks_first, SEED)
    early.submit(10)
    stage.until(lambda pods: any(pod.status.phase == "Running" for pod in pods))
    if silent:
        first.signal(signal.SIGSTOP)
    else:
        first.kill()
    try:
        # They lie in one database: whom a client asks does not matter.
        late = Load(stage, asks_second, SEED + 1, prefix="late")
        late.submit(5)
        late.ends |= early.ends
        if silent:
            asks_second.until(next(iter(early.ends)))
            first.signal(signal.SIGCONT)
            late.submit(5)
        for task in late.assert_right():
            # Pods are adopted, not begun anew; and a server that wakes up late begins none twice.
            assert [log["system_logs"] for log in task["logs"][:-1]] == []
    finally:
        if silent:
            first.signal(signal.SIGCONT)
