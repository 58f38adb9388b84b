"""What can be read of a task over HTTP once it has run, or before: each view, logs, outputs, sentences."""

import json

import pytest

from fakes.process import running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("leaves"), LOCAL_CPU_CORES="2") as server:
        yield server


def sh(script, **more):
    return {"image": "any", "command": ["sh", "-c", script], **more}


def run(client, state, *executors, **more):
    """Run a task to an expected end; return it in FULL."""
    task_id = client.submit(executors=list(executors), **more)
    assert client.until(task_id) == state, client.get(task_id, "FULL")
    return client.get(task_id, "FULL")


def test_a_complete_task_shows_every_executor_and_every_file_in_order(client, server):
    out = f"file://{server.files}/ok"
    task = run(
        client,
        "COMPLETE",
        sh("mkdir -p /out/tree/b; echo 1 >/out/tree/b/one; echo 22 >/out/tree/a; echo said; echo cried >&2"),
        sh("exit 3", ignore_error=True),
        sh("cat /in/x >/out/last"),
        inputs=[{"path": "/in/x", "content": ""}],
        outputs=[
            {"path": "/out/tree", "url": f"{out}/tree", "type": "DIRECTORY"},
            {"path": "/out/last", "url": f"{out}/last", "type": "FILE"},
            {"path": "/out/*.none", "path_prefix": "/out", "url": f"{out}/none"},
        ],
        resources={"ram_gb": 0.05, "backend_parameters": {"Colour": "red"}},
    )
    (log,) = task["logs"]
    assert [each["exit_code"] for each in log["logs"]] == [0, 3, 0]
    assert (log["logs"][0]["stdout"], log["logs"][0]["stderr"]) == ("said\n", "cried\n")
    times = [
        log["start_time"],
        *(each[key] for each in log["logs"] for key in ("start_time", "end_time")),
        log["end_time"],
    ]
    assert times == sorted(times)
    assert all(time.endswith("Z") for time in times)
    assert log["outputs"] == [
        {"url": f"{out}/last", "path": "/out/last", "size_bytes": "0"},
        {"url": f"{out}/tree/a", "path": "/out/tree/a", "size_bytes": "3"},
        {"url": f"{out}/tree/b/one", "path": "/out/tree/b/one", "size_bytes": "2"},
    ]
    assert log["system_logs"][0].startswith('The backend parameter "Colour" was left out')
    assert any("nothing matches" in sentence for sentence in log["system_logs"])
    assert log["metadata"]["executors.0.image"] == "any"
    assert "backend_parameters" not in task["resources"]


def test_after_a_failed_executor_what_exists_is_stored_and_the_rest_is_said(client, server):
    task = run(
        client,
        "EXECUTOR_ERROR",
        sh("echo half >/out/there; kill -9 $$"),
        sh("echo never"),
        outputs=[
            {"path": "/out/there", "url": f"file://{server.files}/there"},
            {"path": "/out/missing", "url": f"file://{server.files}/missing"},
            {"path": "/out/there", "url": f"file://{server.files}/{'too-long' * 99}"},
        ],
    )
    (log,) = task["logs"]
    assert [each["exit_code"] for each in log["logs"]] == [137]
    assert [each["url"] for each in log["outputs"]] == [f"file://{server.files}/there"]
    assert (server.files / "there").read_text() == "half\n"
    assert any("/out/missing" in sentence for sentence in log["system_logs"])


def test_a_missing_output_after_success_is_a_system_error_that_names_it(client, server):
    task = run(client, "SYSTEM_ERROR", sh("true"), outputs=[{"path": "/out/m", "url": f"file://{server.files}/m"}])
    (log,) = task["logs"]
    assert [each["exit_code"] for each in log["logs"]] == [0]
    assert '"/out/m" does not exist' in log["system_logs"][-1] or "/out/m does not exist" in log["system_logs"][-1]


def test_a_url_that_leads_nowhere_fails_at_run_time_with_a_sentence_and_no_executor(client):
    task = run(client, "SYSTEM_ERROR", sh("true"), inputs=[{"path": "/in/x", "url": "gopher://host/key"}])
    (log,) = task["logs"]
    assert log["logs"] == []
    assert "gopher:// is not supported here" in log["system_logs"][-1]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("gopher://host/key", "gopher:// is not supported here"),
        ("data:,x", "outputs cannot be stored in a data: URL"),
        ("drs://host/id", "outputs cannot be stored there"),
        ("file:///etc/cron.d/x", "tasks may not write here"),
        ("file://other/x", "names another machine"),
    ],
)
def test_an_output_that_can_never_be_stored_is_refused_before_any_executor(client, url, why):
    task = run(client, "SYSTEM_ERROR", sh("echo >/out/x"), outputs=[{"path": "/out/x", "url": url}])
    (log,) = task["logs"]
    assert log["logs"] == []
    assert why in log["system_logs"][-1]


def test_a_task_that_waits_has_its_one_tasklog_in_basic_and_full(client):
    holding = client.submit("sleep", "600", resources={"cpu_cores": 2})
    client.until(holding, "INITIALIZING", "RUNNING")
    waiting = client.submit("true", resources={"cpu_cores": 2}, inputs=[{"path": "/in/x", "content": "secret"}])
    full, basic = client.get(waiting, "FULL"), client.get(waiting, "BASIC")
    assert client.get(waiting) == {"id": waiting, "state": "QUEUED"}
    assert full["logs"] == [{"outputs": [], "logs": [], "system_logs": []}]
    assert (full["outputs"], full["volumes"], full["tags"]) == ([], [], {})
    assert full["inputs"] == [{"path": "/in/x", "type": "FILE", "content": "secret"}]
    assert basic["logs"] == [{"outputs": [], "logs": []}]
    assert basic["inputs"] == [{"path": "/in/x", "type": "FILE"}]
    for task_id in (waiting, holding):
        client.cancel(task_id)
        assert client.until(task_id) == "CANCELED"
    events = client.ask("GET", f"/tesk/v1/tasks/{holding}")["events"]
    assert [event["state"] for event in events][-2:] == ["CANCELING", "CANCELED"]
    assert "stdout" not in json.dumps(client.get(holding, "BASIC")["logs"])
