"""Who comes with a token is not the server's user: nothing of the home, the folder of the start or the host's networks is theirs."""

import hashlib
import http.client
import json
import os

import pytest

from fakes.process import running

TOKEN = "a-token-of-high-entropy-for-tests"


@pytest.fixture
def server(tmp_path):
    hashed = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
    settings = tmp_path / "config.toml"
    settings.write_text(f'[[auth.tokens]]\nname = "ann"\ntoken_hash = "{hashed}"\n')
    with running(tmp_path, CONFIG=str(settings), STORAGE_FILE_ROOTS=None) as server:
        yield server


@pytest.mark.parametrize("url", ["file://{started}/word", "http://127.0.0.1:9/word"])
def test_a_token_opens_neither_the_hosts_files_nor_its_networks(server, url):
    (server.folder / "word").write_text("the server's user's own")
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=40)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def ask(method, path, body=None):
        connection.request(method, f"/ga4gh/tes/v1{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    status, created = ask(
        "POST",
        "/tasks",
        {
            "executors": [{"image": "debian", "command": ["cat", "/in/word"]}],
            "inputs": [{"url": url.format(started=server.folder), "path": "/in/word"}],
        },
    )
    assert status == 200, created
    seen = "QUEUED"
    while seen not in ("SYSTEM_ERROR", "COMPLETE", "EXECUTOR_ERROR"):
        seen = ask("GET", f"/tasks/{created['id']}?wait=30")[1]["state"]
    assert seen == "SYSTEM_ERROR"
    log = ask("GET", f"/tasks/{created['id']}?view=FULL")[1]["logs"][-1]
    assert "may not" in log["system_logs"][-1] or "private" in log["system_logs"][-1], log
    connection.close()
    assert os.listdir(server.files) == []
