"""A web page in the user's browser can neither run nor read tasks, unless its origin is named."""

import json

import pytest
from msgspec.structs import replace

from fakes import served as fake
from tesk.api.browser import door
from tesk.errors import SettingsError
from tesk.settings import AuthSettings, Settings, Token

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}
BODY = json.dumps(TASK).encode()
JSON = {"Content-Type": "application/json"}
PORTAL = "https://portal.example.org"


def stored(served):
    return served.get("/v1/tasks").json()["tasks"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.org", **JSON},  # a name that was made to point here
        {"Host": "evil.example.org:8000", "Origin": "http://evil.example.org:8000", **JSON},
        {"Host": "127.0.0.1.evil.example.org", **JSON},
        {"Host": "localhost.evil.example.org", **JSON},
        {"Host": "", **JSON},
        {"Origin": "https://evil.example.org", **JSON},
        {"Origin": "null", **JSON},
        {"Origin": "http://127.0.0.1:9", **JSON},  # another server of this machine
        {"Origin": "http://localhost", **JSON},
        {"Sec-Fetch-Site": "cross-site", **JSON},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", **JSON},
    ],
)
def test_what_a_page_makes_a_browser_send_is_refused(served, headers):
    answer = served.ask("POST", "/v1/tasks", BODY, headers)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    assert served.ask("GET", "/v1/tasks", headers=headers).status == 403
    assert served.ask("OPTIONS", "/v1/tasks", headers=headers).status == 403
    assert stored(served) == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; x=application/json", "application/x-www-form-urlencoded", "", None]
)
def test_a_task_that_a_form_could_send_is_refused(served, kind):
    answer = served.ask("POST", "/v1/tasks", BODY, {} if kind is None else {"Content-Type": kind})
    assert answer.status == 415
    assert "application/json" in answer.json()["detail"]
    assert stored(served) == []


def test_a_form_cannot_cancel(served):
    task_id = served.ask("POST", "/v1/tasks", TASK).json()["id"]
    for origin in ("https://evil.example.org", "null"):
        form = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
        assert served.ask("POST", f"/v1/tasks/{task_id}:cancel", b"", form).status == 403
    assert stored(served)[0]["state"] == "QUEUED"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/ga4gh+json"])
def test_programs_say_that_they_send_json(served, kind):
    assert served.ask("POST", "/v1/tasks", BODY, {"Content-Type": kind}).status == 200


def test_a_compressed_body_is_refused_and_not_read_as_something_else(served):
    assert served.ask("POST", "/v1/tasks", BODY, {**JSON, "Content-Encoding": "gzip"}).status == 415


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:8000", "tesk.localhost", "10.1.2.3"]
)
def test_names_that_nobody_can_make_point_elsewhere_are_served(shared, host):
    assert shared.get("/v1/tasks", Host=host).status == 200


def test_our_own_pages_and_people_who_follow_a_link_are_served(shared):
    own = f"http://127.0.0.1:{shared.port}"
    assert shared.get("/v1/tasks", Origin=own, Host=f"127.0.0.1:{shared.port}").status == 200
    assert shared.get("/v1/tasks", Sec_Fetch_Site="same-origin").status == 200
    typed = shared.get("/v1/docs", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert typed.status == 200
    linked = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert shared.get("/v1/docs", **linked, Sec_Fetch_Dest="document").status == 200
    assert shared.get("/v1/docs", **linked, Sec_Fetch_Dest="iframe").status == 403


def test_cors_is_off_unless_an_origin_is_named(tmp_path):
    settings = Settings()
    settings = replace(
        settings, server=replace(settings.server, cors_origins=(PORTAL,), hostnames=("tes.example.org",))
    )
    with fake.serve(tmp_path, settings) as served:
        asked = {"Origin": PORTAL, "Access-Control-Request-Method": "POST"}
        preflight = served.ask("OPTIONS", "/v1/tasks", headers=asked)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == PORTAL
        assert "Content-Type" in preflight.headers["access-control-allow-headers"]
        made = served.ask("POST", "/v1/tasks", BODY, {**JSON, "Origin": PORTAL, "Sec-Fetch-Site": "cross-site"})
        assert (made.status, made.headers["access-control-allow-origin"]) == (200, PORTAL)
        for path, status in (("/nothing", 404), ("/v1/tasks?view=x", 400), (f"/v1/tasks/{'0' * 26}", 404)):
            answer = served.get(path, Origin=PORTAL)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PORTAL)
        assert served.get("/v1/tasks", Origin="https://other.example.org").status == 403
        assert served.get("/v1/tasks", Host="tes.example.org:80").status == 200
        assert served.get("/v1/tasks", Host="other.example.org").status == 403


def test_every_origin_may_come_only_where_people_must_say_who_they_are():
    settings = Settings()
    open_to_all = replace(settings, server=replace(settings.server, cors_origins=("*",)))
    with pytest.raises(SettingsError, match="cors_origins"):
        door(open_to_all)
    tokens = AuthSettings(tokens=(Token(name="a", token_hash="sha256:" + "0" * 64),))
    assert door(replace(open_to_all, auth=tokens)).allows(b"https://anything.example.org")
    with pytest.raises(SettingsError, match="no origin"):
        door(replace(settings, server=replace(settings.server, cors_origins=("portal",))))


def test_answers_are_never_guessed_to_be_something_else_nor_kept(shared):
    headers = shared.get("/v1/tasks").headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
