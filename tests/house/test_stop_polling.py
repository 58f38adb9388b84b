"""What the pages for client authors show works: it is run as it stands there, on what TESK sends."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import jsonschema_rs
import pytest

from tesk.callbacks.message import request
from tesk.http.target import parse
from tesk.settings import CallbackKey
from tesk.signature import Keys
from tesk.store.outbox import Pending
from tesk.tes.state import State

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
ID = "msg_1"
BODY = b'{"id":"a","state":"RUNNING"}\n\x00 '


def snippet(language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / "stop-polling.md").read_text(), re.DOTALL)
    return next(each for each in found if containing in each)


def signed(secret: str, stamp: int) -> dict[str, str]:
    keys = Keys((CallbackKey(secret=OTHER), CallbackKey(secret=secret)))
    return {
        "webhook-id": ID,
        "webhook-timestamp": str(stamp),
        "webhook-signature": keys.sign("", "", ID, stamp, BODY),
    }


def by_python(tmp_path: Path, headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, object] = {}
    exec(snippet("python", "def verified"), names)
    return bool(names["verified"](SECRET, headers, body))  # type: ignore[operator]  # a function of the page


def by_shell(tmp_path: Path, headers: dict[str, str], body: bytes) -> bool:
    (tmp_path / "body").write_bytes(body)
    given = {
        "SECRET": SECRET,
        "ID": headers["webhook-id"],
        "STAMP": headers["webhook-timestamp"],
        "SIGNATURES": headers["webhook-signature"],
        "BODY": str(tmp_path / "body"),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(["sh", "-c", snippet("sh", "openssl dgst")], env=given, capture_output=True, check=False)
    assert not done.stderr
    return done.returncode == 0


MAIN = """
func main() {
	headers := http.Header{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		headers.Set(name, os.Getenv(name))
	}
	body, _ := io.ReadAll(os.Stdin)
	if !verified(os.Getenv("SECRET"), headers, body) {
		os.Exit(1)
	}
}
"""
PACKAGES = ("crypto/hmac", "crypto/sha256", "encoding/base64", "io", "net/http", "os", "strconv", "strings", "time")


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: scripts/install-test-needs")
    folder = tmp_path_factory.mktemp("go")
    imports = "".join(f'import "{package}"\n' for package in PACKAGES)
    (folder / "main.go").write_text(f"package main\n\n{imports}\n{snippet('go', 'func verified')}{MAIN}")
    subprocess.run([go, "build", "-o", "verify", "main.go"], cwd=folder, check=True, timeout=300)
    return folder / "verify"


CASES = [
    (SECRET, 0, BODY, True),
    (OTHER, 0, BODY, False),
    (SECRET, 0, BODY + b" ", False),
    (SECRET, -290, BODY, True),
    (SECRET, -400, BODY, False),
    (SECRET, 400, BODY, False),
]


@pytest.mark.parametrize("by", [by_python, by_shell], ids=["python", "shell"])
@pytest.mark.parametrize(("secret", "late", "body", "good"), CASES)
def test_a_signature_is_verified_as_the_page_says(tmp_path, by, secret, late, body, good) -> None:
    assert by(tmp_path, signed(secret, int(time.time()) + late), body) is good


@pytest.mark.parametrize(("secret", "late", "body", "good"), CASES)
def test_a_signature_is_verified_in_go_as_the_page_says(go_program, secret, late, body, good) -> None:
    given = signed(secret, int(time.time()) + late) | {"SECRET": SECRET}
    assert (subprocess.run([go_program], env=given, input=body, check=False).returncode == 0) is good


def test_what_is_sent_is_as_the_schema_has_it() -> None:
    schema = json.loads((DOCS / "extension/callback.schema.json").read_text())
    valid = jsonschema_rs.validator_for(schema)
    assert set(schema["properties"]["state"]["enum"]) == {str(state) for state in State}
    told = {"id": "a", "state": "RUNNING", "time": "2026-11-25T06:00:00.000Z", "sequence": 2, "attempt": 1}
    assert valid.is_valid(told | {"previous_state": "INITIALIZING", "something": "new"})
    assert valid.is_valid({"id": "a", "state": "COMPLETE"})
    assert not valid.is_valid(told)
    assert not valid.is_valid({"id": "a", "state": "DONE"})
    assert not valid.is_valid({"state": "RUNNING"})
    for state in State:
        for previous in (None, State.QUEUED):
            move = Pending(sequence=3, previous_state=previous, state=state, attempt=1, time=time.time(), tries=0)
            for plain in (False, True):
                sent = request(
                    parse("http://a/b"), "a", move, user="", keys=Keys(()), timestamp=int(move.time), plain=plain
                )
                body = json.loads(sent.partition(b"\r\n\r\n")[2])
                assert valid.is_valid(body)
                assert set(body) <= set(schema["properties"])


def test_the_document_of_callbacks_holds_together() -> None:
    document = json.loads((DOCS / "extension/openapi.json").read_text())
    text = json.dumps(document)
    for place in re.findall(r'"\$ref": "#/([^"]+)"', text):
        found = document
        for step in place.split("/"):
            found = found[step]
    assert re.findall(r'"\$ref": "([^#"]+)"', text) == ["callback.schema.json"]
    asked = document["paths"]["/tasks"]["post"]
    assert "callback_url" in asked["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert "{$request.body#/callback_url}" in asked["callbacks"]["statusChange"]
