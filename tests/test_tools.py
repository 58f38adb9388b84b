"""Which image a `trs://` URI stands for, as a real TRS server says."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from fakes import raw_web, trs_server
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import StorageSettings, TrsHost
from tesk.tools import Image, Tool, Tools, Version, docker_image, tool_of

DOCKER = {"image_type": "Docker", "image_name": "quay.io/biocontainers/bwa:0.7.17"}


@pytest.fixture
def server() -> Iterator[trs_server.Trs]:
    with trs_server.serve() as serving:
        yield serving


def looked_up(
    server: trs_server.Trs, *names: str, settings: StorageSettings | None = None, caller: str = "ann"
) -> list[str]:
    host = TrsHost(host=server.authority, plain=True)
    settings = settings or StorageSettings(trs=(host,), private_addresses=True, tries=2, timeout_seconds=5)

    async def story() -> list[str]:
        with contextlib.closing(Tools(settings)) as tools:
            return list(await asyncio.gather(*(tools.image(name, caller) for name in names)))

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("uri", "tool"),
    [
        ("trs://h/bwa/versions/0.7.17", Tool("h", "bwa", "0.7.17")),
        ("TRS://H:8443/quay.io%2Fa%2Fb/versions/v%2F1", Tool("h:8443", "quay.io/a/b", "v/1")),
        ("trs://h/quay.io/a/b/versions/1/", Tool("h", "quay.io/a/b", "1")),
        ("trs://h/bwa/0.7.17", Tool("h", "bwa", "0.7.17")),
        ("trs://h/#workflow%2Fx/versions/1", Tool("h", "#workflow/x", "1")),
    ],
)
def test_a_uri_names_a_version_of_a_tool(uri: str, tool: Tool) -> None:
    assert tool_of(uri) == tool


@pytest.mark.parametrize("uri", ["trs://h", "trs://h/bwa", "trs://u:p@h/bwa/versions/1", "trs://h/a b/versions/1"])
def test_what_names_none_is_refused(uri: str) -> None:
    with pytest.raises(TransferRefused, match="no proper TRS URI") as told:
        tool_of(uri)
    assert "p@" not in str(told.value)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (Image("quay.io/a/b:1", "quay.io/", "Docker"), "quay.io/a/b:1"),
        (Image("a/b:1", "https://quay.io", "docker"), "quay.io/a/b:1"),
        (Image("ubuntu:latest", "registry.hub.docker.com", None), "docker.io/ubuntu:latest"),
        (Image("ubuntu", None, "Docker"), "ubuntu"),
        (Image("localhost/x:1", "quay.io", "Docker"), "localhost/x:1"),
    ],
)
def test_the_name_has_its_registry(image: Image, name: str) -> None:
    assert docker_image(Version((Image("conda-x", None, "Conda"), image)), "trs://h/t/v") == name


def test_a_version_without_an_image_for_an_engine_is_told() -> None:
    with pytest.raises(TransferRefused, match=r"names no Docker image \(its images: Conda, Singularity\)"):
        docker_image(Version((Image("x", None, "Singularity"), Image("y", None, "Conda"))), "trs://h/t/v")
    with pytest.raises(TransferRefused, match="its images: none"):
        docker_image(Version(), "trs://h/t/v")


def test_the_server_is_asked_once_for_many_tasks_and_never_for_other_names(server: trs_server.Trs) -> None:
    server.add("quay.io/a", "1", DOCKER)
    uri = f"{server.url}/quay.io%2Fa/versions/1"
    names = looked_up(server, uri, uri, uri, "debian:12", "docker://debian")
    assert names == [DOCKER["image_name"]] * 3 + ["debian:12", "docker://debian"]
    assert server.requests == ["/ga4gh/trs/v2/tools/quay.io%2Fa/versions/1"]


def test_a_busy_server_is_asked_again(server: trs_server.Trs) -> None:
    server.add("a", "1", DOCKER)
    server.busy = 1
    assert looked_up(server, f"{server.url}/a/versions/1") == [DOCKER["image_name"]]
    server.busy = 9
    with pytest.raises(TransferFailed, match=r"/a/versions/1: the server answers 503 .*tried 2 times"):
        looked_up(server, f"{server.url}/a/versions/1")


@pytest.mark.parametrize(
    "document", [b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"images":[{"image_name":"\xce"}]}']
)
def test_what_is_no_document_is_no_fault_of_ours(document: bytes) -> None:
    with raw_web.serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)) as server:
        host = TrsHost(host=f"127.0.0.1:{server.port}", plain=True)
        settings = StorageSettings(trs=(host,), private_addresses=True)
        with (
            pytest.raises(TransferRefused, match="is no version of a tool"),
            contextlib.closing(Tools(settings)) as tools,
        ):
            asyncio.run(tools.image(f"trs://{host.host}/a/versions/1", "ann"))


def test_a_registry_has_its_own_path_and_token() -> None:
    with trs_server.serve("/api/ga4gh/trs/v2") as server:
        server.add("a", "1", DOCKER)
        server.token = "secret"
        uri = f"{server.url}/a/versions/1"
        known = TrsHost(host=server.authority, plain=True, path="/api/ga4gh/trs/v2", token="secret")
        for host, words in ((known, ""), (TrsHost(host=server.authority, plain=True), "401"), (None, "no version 2")):
            settings = StorageSettings(trs=(host or known,), private_addresses=True)
            if not words:
                assert looked_up(server, uri, settings=settings) == [DOCKER["image_name"]]
                continue
            with pytest.raises(TransferRefused, match=rf"{words}.*storage\.trs"):
                looked_up(server, uri if host else f"{server.url}/a/versions/2", settings=settings)


def test_a_token_is_sent_for_those_who_may_use_it_only(server: trs_server.Trs) -> None:
    server.add("a", "1", DOCKER)
    server.token = "secret"
    known = TrsHost(host=server.authority, plain=True, token="secret", callers=("ann",))
    settings = StorageSettings(trs=(known, TrsHost(host=server.authority, plain=True)), private_addresses=True)
    uri = f"{server.url}/a/versions/1"

    async def story() -> None:
        with contextlib.closing(Tools(settings)) as tools:
            assert await tools.image(uri, "ann") == DOCKER["image_name"]
            with pytest.raises(TransferRefused, match="401"):
                await tools.image(uri, "ben")

    asyncio.run(story())


def test_a_registry_that_may_not_be_called_is_not_called(server: trs_server.Trs) -> None:
    settings = StorageSettings(trs=(TrsHost(host=server.authority, plain=True),), hosts_denied=("127.0.0.1",))
    with pytest.raises(TransferRefused, match=r"storage\.hosts_denied"):
        looked_up(server, f"{server.url}/a/versions/1", settings=settings)
    assert server.requests == []
