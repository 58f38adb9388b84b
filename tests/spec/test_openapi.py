"""Schemathesis over the document that we serve, and over the official one: no 500, no answer that is not as it says.

The official document is not ours to ship; its path stands in OFFICIAL_TES_OPENAPI.
"""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from fakes import served as fake
from tesk.settings import Settings

OFFICIAL = "OFFICIAL_TES_OPENAPI"
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.faults)])
TASK = {
    "name": "there from the beginning",
    # A URL beside the content: BASIC shows no content, and an input of the official document has one or the other.
    "inputs": [{"path": "/a", "content": "x", "url": "file:///a"}, {"path": "/b", "url": "file:///x"}],
    "outputs": [{"path": "/c/*", "path_prefix": "/c", "url": "file:///y"}],
    "resources": {"cpu_cores": 0.5, "zones": ["a"], "backend_parameters": {"x": "y"}},
    "executors": [{"image": "debian", "command": ["true"], "env": {"A": "b"}, "workdir": "/a"}],
    "tags": {"a": "b"},
}


@pytest.fixture
def served(tmp_path):
    plain = Settings()
    brief = replace(plain, server=replace(plain.server, wait_limit_seconds=0.05))
    with fake.serve(tmp_path, brief) as server:
        yield server


def fuzz(schema, served, base, examples):
    """Ask every operation of a document so often, with good and with bad values, of a task that is there and of others."""
    made = served.ask("POST", "/v1/tasks", TASK).json()["id"]
    ended = served.ask("POST", "/v1/tasks", TASK).json()["id"]
    served.ask("POST", f"/v1/tasks/{ended}:cancel")
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        ids = [None, {"id": made}, {"id": ended}] if "{id}" in operation.path else [None]
        strategies = [
            operation.as_strategy(mode, path_parameters=ids_given) for mode in GenerationMode for ids_given in ids
        ]

        @settings(BOUNDED, max_examples=examples)
        @given(st.one_of(strategies))
        def ask(case):
            nonlocal asked
            asked += 1
            answer = case.call(base_url=served.url + base, timeout=30)
            case.validate_response(answer, checks=CHECKS)

        ask()
    assert asked > 50


@MANY
def test_the_served_document_says_what_is_answered(served, examples):
    fuzz(
        schemathesis.openapi.from_dict(served.get("/ga4gh/tes/v1/openapi.json").json()),
        served,
        "/ga4gh/tes/v1",
        examples,
    )


@MANY
def test_the_served_document_of_our_own_says_what_is_answered(served, examples):
    document = schemathesis.openapi.from_dict(served.get("/tesk/v1/openapi.json").json())
    # These wait for what is not there yet, for as long as they are told to.
    streams = ["GetLogs", "FollowEvents", "FollowNamedEvents"]
    fuzz(document.exclude(operation_id=streams), served, "/tesk/v1", examples)


@MANY
def test_answers_fit_the_official_document(served, examples):
    path = os.environ.get(OFFICIAL)
    if not path:
        pytest.skip(f"{OFFICIAL} does not say where the official document of TES is")
    fuzz(schemathesis.openapi.from_path(path), served, "/ga4gh/tes/v1", examples)
