"""The command and the client at a real server that runs real tasks."""

import json
import signal
import subprocess

import pytest

from fakes.process import Server, serving
from fakes.served import until
from fakes.typed import Typed
from tesk.client import Client
from tesk.tes.state import State
from tesk.tes.task import Executor, Task


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Give a server that is shared by the tests here."""
    with serving(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def tesk(url, tmp_path):
    """Type a command at it."""
    return Typed(tmp_path, url)


def test_run_ends_as_the_command_ends_with_all_that_it_wrote(tesk):
    done = tesk("run", "--", "sh", "-c", "echo hello; echo oh >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "oh\n", 7)
    assert tesk("run", "--", "sh", "-c", "kill -KILL $$").returncode == 137
    assert tesk("run", "no-such-program").returncode == 127


def test_run_says_that_what_it_prints_was_cut(tesk):
    done = tesk("run", "--", "sh", "-c", "yes | head -c 100000")
    assert len(done.stdout) == 65536
    assert "wrote 100000 bytes to stdout; the server kept the last 65536" in done.stderr


def test_run_names_what_the_system_could_not_do(tesk):
    done = tesk("run", "--input", "nosuch:/data/x", "--", "true")
    assert done.returncode == 125
    assert "nosuch" in done.stderr


def test_get_shows_the_cores_that_a_task_asked_for_where_tes_rounds_them_up(tesk, url):
    task = tesk("run", "--cpu", "0.1", "--ram", "0.1", "-d", "true").stdout.strip()
    assert tesk("wait", task).returncode == 0
    assert json.loads(tesk("get", task, "-o", "json").stdout)["resources"] == {"cpu_cores": 0.1, "ram_gb": 0.1}
    assert "  0.1  " in tesk("get", task, "-o", "wide").stdout
    assert "resources" not in json.loads(tesk("get", task, "-o", "json", "--view", "MINIMAL").stdout)


def test_who_cancels_what_has_ended_hears_that_there_is_nothing_to_cancel(tesk):
    task = tesk("run", "-d", "true").stdout.strip()
    assert tesk("wait", task).returncode == 0
    done = tesk("cancel", task)
    assert (done.stdout, done.stderr) == ("", f"task {task} is COMPLETE already; nothing to cancel\n")
    assert done.returncode == 0, "nothing of it runs, as was wanted"
    assert tesk("cancel", "--wait", task).stdout == f"{task} COMPLETE\n"


def test_ctrl_c_leaves_nothing_running(tesk):
    process = tesk.start("run", "--tag", "test=ctrl-c", "sleep", "100", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: json.loads(tesk("list", "--tag", "test=ctrl-c", "--state", "RUNNING", "-o", "json").stdout))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert "CANCELED" in tesk("list", "--tag", "test=ctrl-c").stdout


def test_many_tasks_are_submitted_listed_and_waited_for(tesk):
    task = json.dumps({"executors": [{"image": "x", "command": ["true"]}]})
    ids = tesk("submit", "-", "--tag", "test=many", "--wait", stdin="\n".join([task] * 20)).stdout.split()
    assert len(set(ids)) == 20
    listed = tesk("list", "--tag", "test=many", "--state", "COMPLETE", "-o", "name").stdout.split()
    assert sorted(listed) == sorted(ids)
    assert tesk("wait", *ids).returncode == 0


def test_the_typed_client_does_a_whole_task(url):
    with Client(url) as tes:
        seen = []
        task_id = tes.create(Task(executors=(Executor(image="x", command=("sh", "-c", "sleep 0.3; exit 5")),)))
        ended = tes.wait(task_id, told=seen.append)
        assert (ended.state, ended.exit_code) == (State.EXECUTOR_ERROR, 5)
        assert seen[-1] == "EXECUTOR_ERROR"
        assert next(iter(tes.list(page_size=1))).id == task_id


def test_the_same_key_and_body_make_one_task(url):
    with Client(url) as tes:
        call = tes._calls.create(b'{"executors": [{"image": "x", "command": ["true"]}]}')
        request = next(call)
        assert tes._sockets.send(request).body == tes._sockets.send(request).body


def test_a_wait_outlives_the_server_that_it_began_with(tmp_path):
    server = Server(tmp_path)
    server.start()
    try:
        server.wait_until_ready()
        tesk = Typed(tmp_path, server.url)
        task_id = tesk("run", "-d", "sleep", "3").stdout.strip()
        process = tesk.start("wait", task_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        server.wait_until_followed()
        until(lambda: json.loads(tesk("get", task_id, "-o", "json").stdout)["state"] == "RUNNING")
        server.kill()
        server.start()
        stdout, stderr = process.communicate(timeout=60)
        assert (stdout, process.returncode) == (f"{task_id} COMPLETE\n", 0)
        # That an attempt was lost is said where the wait for the next one takes longer than a moment.
        said = "attempt 1: The server that ran the task on this machine went away; what it left was ended.\n"
        assert stderr in {"", said}
    finally:
        server.end()


@pytest.mark.parametrize("look", [("database", "check"), ("database", "backup", "copy.db"), ("doctor",)])
def test_what_is_acknowledged_after_a_look_at_the_database_outlives_a_crash(tmp_path, look):
    server = Server(tmp_path)
    server.start()
    try:
        server.wait_until_ready()
        tesk = Typed(tmp_path, server.url)
        before = tesk("run", "-d", "true").stdout.strip()
        looked = tesk(*look, "--data-dir", str(tmp_path / "data"), TESK_LOCAL_NETWORK="off", TESK_SERVER_PORT="0")
        assert looked.returncode == 0, looked.stdout + looked.stderr
        after = tesk("run", "-d", "true").stdout.strip()
        server.kill()
        server.start()
        server.wait_until_ready()
        assert tesk("list", "-o", "name").stdout.split() == [after, before]
    finally:
        server.end()


def test_a_token_made_by_hash_secret_opens_the_server(tmp_path):
    tesk = Typed(tmp_path)
    made = tesk("hash-secret", "--new")
    token, digest = made.stderr.removeprefix("token: ").strip(), made.stdout.strip()
    with serving(tmp_path, AUTH_TOKENS=json.dumps([{"name": "ada", "token_hash": digest}])) as url:
        tesk = Typed(tmp_path, url)
        refused = tesk("list")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "401" in refused.stderr
        assert tesk("run", "echo", "in", TESK_TOKEN=token).stdout == "in\n"
