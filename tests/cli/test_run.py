"""`tesk run`, `tesk wait`, `tesk logs`: they end as the task does."""

import signal
import subprocess
import threading

import pytest

from fakes.tes_server import FakeTes
from tesk.cli.run import input_of


def logs(*executors, system_logs=()):
    return [{"logs": list(executors), "outputs": [], "system_logs": list(system_logs)}]


def test_run_prints_what_the_command_prints_each_to_its_own_stream(tesk_at, serve):
    server = serve(logs=logs({"stdout": "hällo\n", "stderr": "warned\n", "exit_code": 0}))
    done = tesk_at(server)("run", "--", "sh", "-c", "echo hällo")
    assert (done.stdout, done.stderr, done.returncode) == ("hällo\n", "warned\n", 0)
    assert server.tasks["task-1"]["executors"] == [
        {"image": "debian:stable-slim", "command": ["sh", "-c", "echo hällo"]}
    ]


@pytest.mark.parametrize(
    ("state", "codes", "expected"),
    [
        ("COMPLETE", [0], 0),
        ("COMPLETE", [3, 0], 0),
        ("EXECUTOR_ERROR", [0, 7], 7),
        ("EXECUTOR_ERROR", [137], 137),
        ("EXECUTOR_ERROR", [], 1),
        ("EXECUTOR_ERROR", [256], 1),
        ("SYSTEM_ERROR", [], 125),
        ("CANCELED", [], 130),
    ],
)
def test_run_and_wait_end_with_the_tasks_exit_code(tesk_at, serve, state, codes, expected):
    server = serve(states=[state], logs=logs(*({"exit_code": code} for code in codes), system_logs=["because"]))
    assert tesk_at(server)("run", "true").returncode == expected
    waited = tesk_at(server)("wait", "@latest")
    assert (waited.stdout, waited.returncode) == (f"task-1 {state}\n", expected)
    assert ("because" in waited.stderr) == bool(expected)


def test_run_says_why_the_system_failed(tesk_at, serve):
    server = serve(states=["SYSTEM_ERROR"], logs=logs(system_logs=["disk full (limit 10 GB)"]))
    assert "disk full" in tesk_at(server)("run", "true").stderr


def test_why_a_task_ended_stands_before_what_held_all_the_time(tesk_at, serve):
    said = ["Images are not used here.", "inputs: 1 file", "disk full (limit 10 GB)"]
    done = tesk_at(serve(states=["SYSTEM_ERROR"], logs=logs(system_logs=said)))("run", "true")
    assert [line.strip() for line in done.stderr.splitlines()[1:]] == [said[2], said[0], said[1]]


def test_what_an_exit_code_does_not_say_is_said(tesk_at, serve):
    said = ["Images are not used here.", "executors[0]: out of memory (limit 1 GB).", "outputs: 1 file"]
    server = serve(states=["EXECUTOR_ERROR"], logs=logs({"exit_code": 137}, system_logs=said))
    done = tesk_at(server)("run", "true")
    assert (done.returncode, done.stderr) == (137, f"tesk: {said[1]}\n")
    waited = tesk_at(server)("wait", "task-1").stderr.splitlines()
    assert [line.strip() for line in waited[1:]] == [said[1], said[2], said[0]]


def test_an_attempt_that_was_lost_is_told_while_the_next_is_waited_for(tesk_at, serve):
    lost = {
        "logs": [],
        "end_time": "2024-05-06T07:08:09Z",
        "system_logs": ["a note", "no such host; tried again in 5 s"],
    }
    done = tesk_at(serve(states=["RUNNING"] * 2 + ["QUEUED"] * 7 + ["COMPLETE"], logs=[lost, {"logs": []}]))(
        "run", "true"
    )
    assert (done.returncode, done.stderr) == (0, "attempt 1: no such host; tried again in 5 s\n")


def test_run_says_when_the_output_was_cut(tesk_at, serve):
    log = logs({"stdout": "the end\n", "exit_code": 0})
    log[0]["metadata"] = {"executors.0.stdout_size_bytes": "100000"}
    done = tesk_at(serve(logs=log))("run", "true")
    assert done.stdout == "the end\n"
    assert "wrote 100000 bytes to stdout; the server kept the last 8" in done.stderr


def test_run_makes_the_task_that_was_typed(tesk_at, serve):
    server, tesk = serve(), None
    tesk = tesk_at(server)
    (tesk.home / "folder").mkdir()
    typed = ["--image", "alpine", "--cpu", "2", "--ram", "0.5", "--disk", "3", "--workdir", "/w", "--volume", "/v"]
    typed += ["--env", "A=1=2", "--env", "HERE", "--name", "n", "--tag", "k=v=w"]
    typed += ["--input", "reads.fq:/in/reads.fq", "--input", "https://h:1/a:b:/in/b", "--input", "folder:/in/folder"]
    typed += ["--output", "/out/:results", "--output", "/w/x:s3://bucket/x", "--output", "/w/d/*.txt:texts"]
    done = tesk("run", "-d", *typed, "--", "cmd", "--flag", HERE="here")
    assert (done.stdout, done.stderr, done.returncode) == ("task-1\n", "", 0)
    task = server.tasks["task-1"]
    assert task["executors"] == [
        {"image": "alpine", "command": ["cmd", "--flag"], "workdir": "/w", "env": {"A": "1=2", "HERE": "here"}}
    ]
    assert task["resources"] == {"cpu_cores": 2, "ram_gb": 0.5, "disk_gb": 3}
    home = f"file://{tesk.home}"
    assert task["inputs"] == [
        {"url": f"{home}/reads.fq", "path": "/in/reads.fq", "type": "FILE"},
        {"url": "https://h:1/a:b", "path": "/in/b", "type": "FILE"},
        {"url": f"{home}/folder", "path": "/in/folder", "type": "DIRECTORY"},
    ]
    assert task["outputs"] == [
        {"url": f"{home}/results", "path": "/out", "type": "DIRECTORY"},
        {"url": "s3://bucket/x", "path": "/w/x", "type": "FILE"},
        {"url": f"{home}/texts", "path": "/w/d/*.txt", "path_prefix": "/w/d"},
    ]
    assert (task["name"], task["tags"], task["volumes"]) == ("n", {"k": "v=w"}, ["/v"])


def test_data_in_a_url_is_a_file_whatever_letters_it_has():
    assert input_of("data:;base64,ab/:x/:/i/d") == {"url": "data:;base64,ab/:x/", "path": "/i/d", "type": "FILE"}
    assert input_of(f"data:,{'x' * 9999}:/i/d")["type"] == "FILE"


@pytest.mark.parametrize(
    "typed", [[], ["--input", "a", "x"], ["--input", "a:b", "x"], ["--output", "x:y", "z"], ["--env", "NO_SUCH", "x"]]
)
def test_what_cannot_be_a_task_is_said_before_anything_is_sent(tesk_at, serve, typed):
    server = serve()
    done = tesk_at(server)("run", *typed)
    assert done.returncode == 2
    assert done.stderr.startswith("tesk: ")
    assert not server.requests


def test_the_image_of_run_is_a_setting(tesk_at, serve):
    server = serve()
    tesk_at(server)("run", "-d", "true", TESK_DEFAULTS_IMAGE="busybox")
    assert server.tasks["task-1"]["executors"][0]["image"] == "busybox"


def test_no_server_is_a_system_error_for_run_and_no_end_of_a_task(tesk_at):
    server = FakeTes()
    server.server_close()
    done = tesk_at(server)("run", "true")
    assert done.returncode == 125
    assert "Connection refused" in done.stderr


def test_ctrl_c_cancels_the_task_and_ends_with_130(tesk_at, serve):
    server = serve(states=["RUNNING"])
    process = tesk_at(server).start("run", "sleep", "99", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = threading.Event()
    while not seen.wait(0.05) and process.poll() is None:
        if server.looks.get("task-1", 0) > 1:
            seen.set()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "canceling task-1" in stderr
    assert "Traceback" not in stderr
    assert server.state("task-1") == "CANCELED"


def test_a_terminal_sees_the_state_while_it_waits(tesk_at, serve):
    server = serve(
        states=["QUEUED", "RUNNING", "RUNNING", "COMPLETE"], logs=logs({"stdout": "hello\n", "exit_code": 0})
    )
    seen, code = tesk_at(server).on_a_terminal("run", "true")
    assert code == 0
    assert "task-1 RUNNING" in seen
    assert seen.endswith("\r\x1b[Khello\r\n")


def test_no_color_means_nothing_moves(tesk_at, serve, tmp_path):
    tesk = tesk_at(serve(logs=logs({"stdout": "hello\n", "exit_code": 0})))
    tesk.variables["NO_COLOR"] = "1"
    seen, _ = tesk.on_a_terminal("run", "true")
    assert seen == "hello\r\n"


def test_logs_shows_the_executor_the_attempt_and_the_stream_that_are_asked_for(tesk_at, serve):
    first = {"logs": [{"stdout": "lost\n"}], "system_logs": ["node gone"]}
    second = {"logs": [{"stdout": "a\n", "stderr": "b\n", "exit_code": 0}, {"stdout": "c\n", "exit_code": 0}]}
    server = serve(logs=[first, second])
    server.add({"executors": [{}]})
    tesk = tesk_at(server)
    assert (tesk("logs", "@latest").stdout, tesk("logs", "@latest").stderr) == ("a\nc\n", "b\n")
    assert tesk("logs", "@latest", "--executor", "1").stdout == "c\n"
    assert tesk("logs", "@latest", "--attempt", "1", "--system").stdout == "lost\n"
    assert "attempt 1: node gone" in tesk("logs", "@latest", "--system").stderr
    assert tesk("logs", "@latest", "--stream", "stderr").stdout == ""
    wrong = tesk("logs", "@latest", "--attempt", "3")
    assert (wrong.returncode, "2 attempts" in wrong.stderr) == (1, True)


def test_wait_gives_up_at_its_timeout_with_125(tesk_at, serve):
    server = serve(states=["RUNNING"])
    server.add({"executors": [{}]})
    done = tesk_at(server)("wait", "task-1", "--timeout", "0.2")
    assert done.returncode == 125
    assert "still RUNNING" in done.stderr


def test_wait_for_many_ends_with_the_first_bad_code(tesk_at, serve):
    server = serve(logs=logs({"exit_code": 4}))
    for states in (["COMPLETE"], ["EXECUTOR_ERROR"], ["SYSTEM_ERROR"]):
        server.add({"executors": [{}], "_states": states})
    done = tesk_at(server)("wait", "task-1", "task-2", "task-3")
    assert done.stdout == "task-1 COMPLETE\ntask-2 EXECUTOR_ERROR\ntask-3 SYSTEM_ERROR\n"
    assert done.returncode == 4
