"""A host's circuit: opened by ten failures in a row, tried again soon, and later each time that nobody answers."""

from tesk.callbacks.host import Host
from tesk.callbacks.verdict import Verdict
from tesk.store.outbox import Status

BAD = Verdict(status=Status.PENDING, out_of_order=True)
GOOD = Verdict(status=Status.DELIVERED)


def test_many_calls_that_break_at_once_count_as_one_failure_of_the_host():
    host = Host()
    for _ in range(64):
        host.note(BAD, 100.0)
    assert host.is_open
    assert 101.0 < host.until < 103.0


def test_probes_that_fail_come_ever_later_and_one_that_does_not_closes_the_circuit():
    host, now, waits = Host(), 0.0, []
    for _ in range(9):
        host.note(BAD, now)
    assert not host.is_open
    for _ in range(12):
        host.note(BAD, now)
        waits.append(host.until - now)
        now = host.until
    assert waits[0] < 3 < waits[2] < waits[4] < waits[6]
    assert 200 < waits[-1] < 400
    host.note(GOOD, now)
    assert not host.is_open
    assert host.room > 1
