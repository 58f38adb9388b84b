"""Who is let in, and whose tasks they see."""

import time
from base64 import b64encode

import pytest
from msgspec.structs import replace

from fakes import served as fake
from tesk.api.hashing import hash_secret
from tesk.api.identity import Identity
from tesk.errors import SettingsError
from tesk.settings import AuthSettings, Settings, Token, User

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}
SECRET, WATCHING = "a token made at random", "a token of who looks on"


def basic(name, password):
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


ADA, BOB = basic("ada", "pass:word é"), {"Authorization": f"bearer {SECRET}"}
ROOT = basic("root", "toor")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    auth = AuthSettings(
        users=(
            User(name="ada", password_hash=hash_secret("pass:word é", "password")),
            User(name="root", password_hash=hash_secret("toor", "password"), admin=True),
        ),
        tokens=(
            Token(name="bob", token_hash=hash_secret(SECRET, "token")),
            Token(name="watch", token_hash=hash_secret(WATCHING, "token"), admin=True, reads_only=True),
        ),
    )
    with fake.serve(tmp_path_factory.mktemp("served"), replace(Settings(), auth=auth)) as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("nobody", "pass:word é"),
        {"Authorization": "Basic ada"},
        {"Authorization": "Basic YWRh"},
        {"Authorization": "Basic \xff"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Digest x"},
    ],
)
def test_who_is_not_known_is_told_how_to_come_in(served, headers):
    answer = served.ask("POST", "/v1/tasks", TASK, headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith(("Basic", "Bearer"))
    assert answer.json()["title"] == "Not authenticated"


def test_service_info_health_and_documents_are_open_to_everyone(served):
    for path in ("/ga4gh/tes/v1/service-info", "/v1/tasks/service-info", "/tesk/v1/service-info", "/v1/openapi.json"):
        assert served.get(path, Authorization="Bearer wrong").status == 200
    assert [served.get(path).status for path in ("/livez", "/readyz", "/metrics", "/nothing")] == [200, 200, 200, 404]
    assert served.get("/tesk/v1/service-info").json()["authentication"] == ["basic", "bearer"]


def test_people_see_and_cancel_their_own_tasks_and_admins_all(served):
    mine = served.ask("POST", "/v1/tasks", TASK, ADA).json()["id"]
    theirs = served.ask("POST", "/v1/tasks", TASK, BOB).json()["id"]

    def listed(who):
        return {task["id"] for task in served.ask("GET", "/v1/tasks", headers=who).json()["tasks"]}

    assert (listed(ADA), listed(BOB), listed(ROOT)) == ({mine}, {theirs}, {mine, theirs})
    for path in (f"/v1/tasks/{theirs}", f"/v1/tasks/{theirs}?wait=1", f"/tesk/v1/tasks/{theirs}"):
        assert served.ask("GET", path, headers=ADA).status == 404
        assert served.ask("GET", path.partition("?")[0], headers=BOB).status == 200
    assert served.ask("POST", f"/v1/tasks/{theirs}:cancel", None, ADA).status == 404
    assert served.ask("POST", f"/v1/tasks/{theirs}:cancel", None, ROOT).status == 200
    assert served.ask("GET", f"/tesk/v1/tasks/{mine}", headers=ROOT).json()["owner"] == "ada"


def test_who_may_only_look_sees_and_changes_nothing(served):
    watch = {"Authorization": f"Bearer {WATCHING}"}
    task = f"/v1/tasks/{served.ask('POST', '/v1/tasks', TASK, ADA).json()['id']}"
    for path in (task, "/v1/tasks", f"/tesk{task}", f"/tesk{task}/events"):
        assert served.ask("GET", path, headers=watch).status == 200
    assert served.ask("POST", "/tesk/v1/events", {"no": "such"}, watch).status == 400, "it may ask for many at once"
    for path, body in (
        ("/v1/tasks", TASK),
        (f"{task}:cancel", None),
        ("/tesk/v1/tasks:batch", [TASK]),
        ("/tesk/v1/tasks:cancel", {}),
        (f"/tesk{task}/deliveries:redeliver", None),
    ):
        refused = served.ask("POST", path, body, watch)
        assert refused.status == 403
        assert "may look" in refused.json()["detail"]
    assert served.ask("GET", task, headers=ADA).json()["state"] == "QUEUED"


def test_one_owners_idempotency_key_says_nothing_to_another(served):
    ids = [served.ask("POST", "/v1/tasks", TASK, {**who, "Idempotency-Key": "k"}).json()["id"] for who in (ADA, BOB)]
    assert ids[0] != ids[1]


def test_a_password_is_checked_slowly_once_and_then_known(served):
    served.ask("GET", "/v1/tasks", headers=ADA)

    def best():
        began = time.perf_counter()
        assert served.ask("GET", "/v1/tasks", headers=ADA).status == 200
        return time.perf_counter() - began

    known = min(best() for _ in range(10))
    began = time.perf_counter()
    served.ask("GET", "/v1/tasks", headers=basic("ada", "wrong"))
    assert known < time.perf_counter() - began


@pytest.mark.parametrize("text", ["", "x", "sha256:12", "scrypt:16384:8:1:AA==:", "scrypt:3:8:1:AA==:AA==", "plain"])
def test_a_hash_that_is_none_stops_the_start_and_is_named(text):
    with pytest.raises(SettingsError, match=r"auth\.users\[0\]\.password_hash"):
        Identity(AuthSettings(users=(User(name="a", password_hash=text),)))
    with pytest.raises(SettingsError, match=r"auth\.tokens\[0\]\.token_hash"):
        Identity(AuthSettings(tokens=(Token(name="a", token_hash=text),)))


def test_no_hash_shows_the_secret_and_no_two_of_a_password_are_alike():
    first, second = (hash_secret("secret", "password") for _ in range(2))
    assert first != second
    assert "secret" not in first
    with pytest.raises(SettingsError, match="at random"):
        hash_secret("short", "token")


def test_one_token_may_stand_in_the_settings_as_it_is(tmp_path):
    auth = AuthSettings(token="as a chart made it in a secret", token_name="chart", token_admin=False)
    with fake.serve(tmp_path, replace(Settings(), auth=auth)) as server:
        assert server.get("/v1/tasks").status == 401
        whoever = {"Authorization": "Bearer as a chart made it in a secret"}
        made = server.ask("POST", "/v1/tasks", TASK, whoever)
        assert made.status == 200
        [task] = server.ask("GET", "/v1/tasks", headers=whoever).json()["tasks"]
        assert task["id"] == made.json()["id"]
        assert server.ask("GET", f"/tesk/v1/tasks/{task['id']}", headers=whoever).json()["owner"] == "chart"


def test_a_token_that_could_be_guessed_is_refused():
    with pytest.raises(SettingsError, match="at least 20 characters"):
        Identity(AuthSettings(token="short"))
