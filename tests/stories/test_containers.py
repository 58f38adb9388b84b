"""Whole tasks in real images over HTTP, and what becomes of them when their server goes."""

import signal
from contextlib import closing

import pytest

from fakes.process import Server, running
from fakes.served import until
from fakes.stubborn import Client
from fakes.typed import Typed

WAITS = "echo begun; while [ ! -e /data/go ]; do sleep 0.05; done; echo ended"


@pytest.fixture
def settings(engine):
    """Give what a server in these stories is told. `engine` is in its environment."""
    return {"BACKEND": "containers", "CONTAINERS_NETWORK": "off", "CONTAINERS_PULL": "never"}


def test_a_task_runs_in_its_image_with_files_in_and_out(tmp_path, settings, engine):
    engine.build("localhost/tool:2", 'ENTRYPOINT ["false"]', files={"usr/local/bin/tool": b"#!/bin/sh\ntr a-z A-Z\n"})
    with running(tmp_path, **settings) as server, closing(Client(server.url)) as client:
        (server.files / "in.txt").write_text("hello\n")
        tesk = Typed(tmp_path, server.url)
        done = tesk("run", "--image", "localhost/tool:2", "--", "sh", "-c", "echo $0; exit 3")
        assert (done.stdout, done.stderr, done.returncode) == ("sh\n", "", 3)
        executors = [
            {"image": "localhost/tool:2", "command": ["tool"], "stdin": "/data/in", "stdout": "/data/out"},
            {"image": "debian", "command": ["wc", "-c", "/data/out"]},
        ]
        task_id = client.submit(
            executors=executors,
            inputs=[{"url": f"file://{server.files}/in.txt", "path": "/data/in"}],
            outputs=[{"url": f"file://{server.files}/out.txt", "path": "/data/out"}],
        )
        assert client.until(task_id) == "COMPLETE", client.get(task_id, "FULL")
        [log] = client.get(task_id, "FULL")["logs"]
        assert (server.files / "out.txt").read_text() == "HELLO\n"
        assert log["logs"][1]["stdout"] == "6 /data/out\n"
        assert log["metadata"]["executors.0.image_digest"] != log["metadata"]["executors.1.image_digest"]
        assert log["outputs"] == [{"url": f"file://{server.files}/out.txt", "path": "/data/out", "size_bytes": "6"}]
        # Of this task: other tests have theirs in the same engine.
        until(lambda: engine.run("ps", "--all", "--quiet", "--filter", f"label=tesk.task={task_id}") == "")


def test_an_image_that_is_not_there_ends_the_task_with_the_engines_words(tmp_path, settings):
    with running(tmp_path, **settings | {"CONTAINERS_PULL": "missing", "LIMITS_ATTEMPTS": "1"}) as server:
        done = Typed(tmp_path, server.url)("run", "--image", "localhost:1/not/here", "--", "true")
        assert done.returncode == 125
        assert "Image localhost:1/not/here cannot be had" in done.stderr
        assert "connection refused" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_task_goes_on_without_its_server_and_ends_under_the_next(tmp_path, settings, number):
    server = Server(tmp_path, **settings)
    server.start()
    server.wait_until_ready()
    try:
        with closing(Client(server.url)) as client:
            executors = [
                {"image": "debian", "command": ["sh", "-c", WAITS]},
                {"image": "debian", "command": ["echo", "second"]},
            ]
            task_id = client.submit(executors=executors, volumes=["/data"])
            client.until(task_id, "RUNNING")
            data = tmp_path / f"data/containers/attempts/{task_id}-1"
            end = data / "own/0/stdout"
            until(lambda: end.exists() and end.read_text() == "begun\n")
            server.signal(number)
            server.process.wait(30)
            (data / "root/data/go").touch()
            server.start()
            assert client.until(task_id) == "COMPLETE", client.get(task_id, "FULL")
            [log] = client.get(task_id, "FULL")["logs"]
            assert [each["stdout"] for each in log["logs"]] == ["begun\nended\n", "second\n"]
    finally:
        server.end()


def test_ctrl_c_ends_what_runs_and_queues_it_again(tmp_path, settings, engine):
    server = Server(tmp_path, **settings)
    server.start()
    server.wait_until_ready()
    try:
        with closing(Client(server.url)) as client:
            executors = [{"image": "debian", "command": ["sleep", "1000"]}]
            task_id = client.submit(executors=executors)
            client.until(task_id, "RUNNING")
            server.signal(signal.SIGINT)
            server.process.wait(60)
            assert engine.run("ps", "--quiet") == ""
            server.start()
            client.cancel(task_id)
            assert client.until(task_id) == "CANCELED"
    finally:
        server.end()


def test_doctor_finds_the_engine_and_tries_it(tmp_path, engine):
    engine.run("tag", "localhost/debian", "localhost/debian:stable-slim")
    tesk = Typed(tmp_path)
    done = tesk("doctor", "--backend", "containers", "--data-dir", "d", "--port", "0", TESK_CONTAINERS_NETWORK="off")
    assert done.returncode == 0, done
    assert "ok   engine: podman" in done.stdout
    assert "ok   engine: a task of one command took" in done.stdout
    labels = ("--label", "tesk.place=0-0", "--label", f"tesk.folder={tmp_path}/gone")
    engine.run("create", "--name", "left", *labels, "localhost/debian", "true")
    done = tesk("doctor", "--backend", "containers", "--data-dir", "d", "--port", "0", TESK_CONTAINERS_NETWORK="off")
    assert f"1 container left by a server whose folder {tmp_path}/gone is not there" in done.stdout
    help_ = f"podman ps --all --quiet --filter label=tesk.folder={tmp_path}/gone | xargs podman rm --force"
    assert help_ in done.stdout
    engine.remove("left")
    done = tesk("doctor", "--backend", "containers", "--data-dir", "d", TESK_CONTAINERS_ENGINE="/no/engine")
    assert done.returncode == 1
    assert "try: apt install podman" in done.stdout
