"""The OpenAPI documents and the pages on them."""

import re

import pytest

from tesk.errors import RequestError
from tesk.tes.state import State


@pytest.mark.parametrize("base", ["/ga4gh/tes/v1", "/v1", "/tesk/v1"])
def test_each_base_path_serves_its_document_and_a_page_that_needs_nothing_from_outside(shared, base):
    document = shared.get(f"{base}/openapi.json").json()
    assert base in [server["url"] for server in document["servers"]]
    answer = shared.get(f"{base}/docs")
    page = answer.body.decode()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|href='(?!#|/)", page)
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] in page
    for link in re.findall(r"href='#([^']+)'", page):
        assert f"id='{link}'" in page


def test_every_path_of_the_documents_is_served(shared):
    for base in ("/ga4gh/tes/v1", "/v1", "/tesk/v1"):
        for path, methods in shared.get(f"{base}/openapi.json").json()["paths"].items():
            for method in methods:
                # A stream from no place is refused; others have no end.
                nowhere = {"Last-Event-ID": "nowhere"}
                answer = shared.ask(method.upper(), base + path.replace("{id}", "0" * 26), headers=nowhere)
                assert answer.status != 405
                assert not answer.json().get("detail", "").startswith("there is no /")


def test_the_document_knows_every_state_and_every_error(shared):
    document = shared.get("/v1/openapi.json").json()
    assert document["components"]["schemas"]["State"]["enum"] == [state.value for state in State]
    described = {code for path in document["paths"].values() for each in path.values() for code in each["responses"]}
    assert described - {"200", "304"} == {str(kind.status) for kind in RequestError.__subclasses__()} - {"409"}
