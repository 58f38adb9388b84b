"""Settings that change what a task or its owner sees, told to a real server; its own files stay closed, wherever they lie."""

import json
import urllib.error
import urllib.request

import pytest

from fakes.process import running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    files = folder / "files"
    files.mkdir()
    (files / "tesk.toml").write_text(
        f'database = "{files}/deep/own.db"\n'
        '[info]\nid = "org.example.tesk"\nname = "Ours"\ndescription = "For tests."\norganization = "Example"\n'
        'organization_url = "https://example.org"\ncontact_url = "mailto:a@example.org"\n'
        'documentation_url = "https://example.org/docs"\nenvironment = "test"\n'
        "[limits]\nlog_tail_bytes = 8\ncontent_bytes = 100\ntime_limit_seconds = 3.0\n[local]\ndisk_check_seconds = 0.1\n"
        "[defaults]\ncpu_cores = 0.25\nram_gb = 0.2\ndisk_gb = 0.001\n"
    )
    (files / "link.toml").symlink_to("tesk.toml")
    with running(folder, CONFIG=str(files / "link.toml"), LOCAL_CPU_CORES="2") as server:
        yield server


def ended(client, state, *command, **more):
    """Run a task to an expected end; return its one TaskLog."""
    task_id = client.submit(*command, **more)
    assert client.until(task_id) == state, client.get(task_id, "FULL")
    (log,) = client.get(task_id, "FULL")["logs"]
    return log


@pytest.mark.parametrize("name", ["tesk.toml", "link.toml", "deep/own.db", "deep/own.db-wal", "deep/own.db.lock"])
def test_the_servers_own_files_are_closed_to_tasks_also_where_their_folder_is_open(client, server, name):
    own = server.files / name
    before = own.read_bytes() if name.endswith("toml") else None
    log = ended(client, "SYSTEM_ERROR", "true", inputs=[{"url": f"file://{own}", "path": "/in/x"}])
    assert "tasks may not read here" in log["system_logs"][-1]
    log = ended(
        client,
        "SYSTEM_ERROR",
        *("sh", "-c", "echo planted >/out/x"),
        outputs=[{"url": f"file://{own}", "path": "/out/x"}],
    )
    assert "tasks may not write here" in log["system_logs"][-1]
    assert before is None or (own.read_bytes() == before and own.is_symlink() == (name == "link.toml"))


def test_service_info_tells_what_the_settings_say(client):
    info = client.ask("GET", "/ga4gh/tes/v1/service-info")
    assert {
        key: info[key] for key in info.keys() - {"type", "version", "storage", "tesResources_backend_parameters"}
    } == {
        "id": "org.example.tesk",
        "name": "Ours",
        "description": "For tests.",
        "organization": {"name": "Example", "url": "https://example.org"},
        "contactUrl": "mailto:a@example.org",
        "documentationUrl": "https://example.org/docs",
        "environment": "test",
    }


def test_what_a_task_does_not_ask_for_is_the_servers_to_give_and_zero_is_nothing(client):
    for resources in ({}, {"cpu_cores": 0, "ram_gb": 0, "disk_gb": 0}):
        task_id = client.submit("true", resources=resources)
        ours = client.ask("GET", f"/tesk/v1/tasks/{task_id}")
        assert (ours["cpu_cores"], ours["ram_gb"], ours["disk_gb"]) == (0.25, 0.2, 0.001)
        assert client.get(task_id, "FULL").get("resources", {}) == resources


def test_a_log_holds_as_much_of_a_streams_end_as_the_settings_say(client):
    log = ended(client, "COMPLETE", "sh", "-c", "echo 0123456789; echo 9876543210 >&2")
    assert (log["logs"][0]["stdout"], log["logs"][0]["stderr"]) == ("3456789\n", "6543210\n")
    assert log["metadata"]["executors.0.stdout_size_bytes"] == "11"


def test_content_beyond_the_limit_is_refused_with_the_limit(client, server):
    task = {
        "executors": [{"image": "i", "command": ["true"]}],
        "inputs": [{"path": "/in/x", "content": "x" * 101}],
    }
    request = urllib.request.Request(
        server.url + "/v1/tasks", json.dumps(task).encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value:
        assert refused.value.code == 400
        assert "100 bytes" in json.load(refused.value)["detail"]


def test_the_servers_time_limit_holds_for_tasks_that_name_none_or_a_longer_one(client):
    for resources in ({}, {"backend_parameters": {"time_limit_seconds": "3600"}}):
        log = ended(client, "SYSTEM_ERROR", "sleep", "600", resources=resources)
        assert log["system_logs"][-1] == "Stopped: it ran longer than its time limit of 3 s"


def test_the_servers_disk_limit_holds_for_tasks_that_name_none(client):
    log = ended(client, "SYSTEM_ERROR", "sh", "-c", "head -c 30000000 /dev/zero >/data/x; sleep 600", volumes=["/data"])
    assert "disk full (limit 0.001 GB)" in log["system_logs"]
