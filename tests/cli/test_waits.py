"""`tesk wait` and `tesk list -w`: told by one stream of events, and asking nothing while nothing changes."""

import re
import signal
import subprocess
import time
from math import inf

from fakes.moves import run, submit
from fakes.process import Server
from fakes.served import serve as served_at
from fakes.served import until
from fakes.stubborn import Client
from fakes.typed import Typed
from tesk.cli.hearing import Looks
from tesk.tes.state import State

MANY = 200


def requests(served):
    """Return how often was asked for what so far, by route; our own looks at metrics are not counted."""
    lines = re.findall(r'tesk_http_requests_total\{route="([^"]+)".*?\} (\d+)', served.get("/metrics").body.decode())
    return {route: int(count) for route, count in lines if route != "/metrics"}


def streams(served):
    return int(re.search(rb"tesk_event_streams (\d+)", served.get("/metrics").body)[1])


def test_a_wait_for_many_holds_one_stream_and_asks_nothing_of_any_task(tmp_path):
    with served_at(tmp_path) as served:
        tasks = submit(served, MANY)
        before = requests(served)
        tesk = Typed(tmp_path, served.url)
        process = tesk.start("wait", *tasks, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: streams(served) == 1)
        run(served, tasks[1:])
        assert streams(served) == 1
        run(served, tasks[:1])
        out, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, "")
        assert out == "".join(f"{task} COMPLETE\n" for task in tasks)
        after = requests(served)
        asked = {route: after[route] - before.get(route, 0) for route in after}
        assert {route: count for route, count in asked.items() if count} == {
            "/tesk/v1/service-info": 1,
            "/tesk/v1/events": 1,
        }


def test_a_wait_for_tasks_that_have_ended_is_over_at_once_and_a_wrong_id_is_named(tmp_path):
    with served_at(tmp_path) as served:
        tasks = submit(served, 3)
        run(served, tasks[:2])
        run(served, tasks[2:], State.SYSTEM_ERROR)
        tesk = Typed(tmp_path, served.url)
        done = tesk("wait", *tasks[:2])
        assert (done.returncode, done.stderr) == (0, "")
        assert tesk("wait", *tasks).returncode == 125
        wrong = tesk("wait", tasks[0], "0" * 26)
        assert wrong.returncode == 125
        assert f"there is no task '{'0' * 26}'" in wrong.stderr


def test_of_what_events_have_forgotten_is_asked_once(tmp_path):
    with served_at(tmp_path) as served:
        tasks = submit(served, 2)
        run(served, tasks)
        served.run(served.store.prune(tasks_before=None, events_before=time.time() + 1000))
        before = requests(served)
        done = Typed(tmp_path, served.url)("wait", *tasks)
        assert (done.returncode, done.stderr) == (0, "")
        assert requests(served)["/tasks/{id}"] - before.get("/tasks/{id}", 0) == 2


def test_a_wait_ends_at_its_timeout_and_says_where_the_first_task_is(tmp_path):
    with served_at(tmp_path) as served:
        tasks = submit(served, 2)
        run(served, tasks[:1])
        done = Typed(tmp_path, served.url)("wait", *tasks, "--timeout", "1.5")
        assert done.returncode == 125
        assert f"task {tasks[1]} is still QUEUED after 1.5 s" in done.stderr


def test_a_wait_goes_on_over_a_server_that_is_killed_and_started(tmp_path):
    server = Server(tmp_path)
    server.start()
    server.wait_until_ready()
    client = Client(server.url)
    try:
        tasks = [client.submit("sh", "-c", f"sleep 3; exit {code}") for code in (0, 3)]
        tesk = Typed(tmp_path, server.url)
        process = tesk.start("wait", *tasks, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        server.wait_until_followed()
        server.kill()
        server.start()
        out, said = process.communicate(timeout=60)
        assert process.returncode == 3
        assert out == f"{tasks[0]} COMPLETE\n{tasks[1]} EXECUTOR_ERROR\n"
        assert said.splitlines()[0].startswith(f"task {tasks[1]} ended EXECUTOR_ERROR")
    finally:
        client.close()
        server.end()


def test_a_task_that_does_not_move_is_looked_at_a_few_times_and_then_no_more():
    now, looks = [0.0], []
    looking = Looks(lambda: looks.append(now[0]), lambda: now[0])
    while looking.due < inf:
        now[0] = looking.due
        looking.look()
    assert looks == [2, 6, 14, 30, 62, 126, 254, 510, 1022]
    looking.anew()
    assert looking.due == now[0] + 2
    assert Looks(None).due == inf


def test_a_list_is_watched_as_it_changes(tmp_path):
    with served_at(tmp_path) as served:
        (first,) = submit(served, 1)
        tesk = Typed(tmp_path, served.url)
        process = tesk.start("list", "-w", "-o", "name", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == f"{first} QUEUED\n"
        (second,) = submit(served, 1)
        assert process.stdout.readline() == f"{second} QUEUED\n"
        run(served, [first])
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines == [f"{first} {state}\n" for state in ("INITIALIZING", "RUNNING", "COMPLETE")]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 130


def test_a_list_of_somebody_elses_server_is_looked_at_again(tesk_at, serve):
    server = serve()
    server.add({"executors": [{"command": ["a"]}]})
    tesk = tesk_at(server)
    process = tesk.start("list", "-w", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().split()[:2] == ["ID", "STATE"]
    assert process.stdout.readline().split()[:2] == ["task-1", "QUEUED"]
    server.state("task-1")
    assert process.stdout.readline().split()[:2] == ["task-1", "RUNNING"]
    process.terminate()
    assert "does not tell what changes" in process.communicate(timeout=30)[1]


def test_a_server_that_keeps_streams_back_is_asked_by_the_long_poll(tesk_at, serve):
    """A proxy that knows no such address, or a server that refuses it, is no end of the wait."""
    server = serve(tesk=True, abilities={"events": True})
    task = server.add({"executors": [{"command": ["a"]}]})
    done = tesk_at(server)("wait", task)
    assert (done.returncode, done.stdout) == (0, f"{task} COMPLETE\n")


def test_who_watches_sees_what_a_stream_could_not_tell(tesk_at, serve):
    sse = {"Content-Type": "text/event-stream"}

    def page(state):
        return (200, {}, {"tasks": [{"id": "t1", "state": state}]})

    gap = (200, sse, b'event: gap\ndata: {"after":1,"oldest":9}\n\n')
    script = ["", (200, sse, b"id: 1\n\n"), page("QUEUED"), gap, page("RUNNING"), (404, {}, {"detail": "no more"})]
    server = serve(tesk=True, abilities={"events": True}, script=script)
    done = tesk_at(server)("list", "--watch", "-o", "name")
    assert done.stdout == "t1 QUEUED\nt1 RUNNING\n"
    assert "no more" in done.stderr
