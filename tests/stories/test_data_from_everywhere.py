"""One task takes its inputs from six kinds of places and leaves its outputs in three, over a real server."""

import hashlib

import pytest

from fakes import drs_server, ftp_server, web, webdav
from fakes.ftp_server import PASSWORD, USER
from fakes.process import running


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What lies outside of TESK: an FTP server, a DRS server, a web server."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("ftp", "web"):
        (folder / name).mkdir()
    with (
        ftp_server.serve(folder / "ftp") as ftp,
        drs_server.serve() as drs,
        web.serve(webdav.over(folder / "web")) as http,
    ):
        yield folder, ftp, drs, http


@pytest.fixture(scope="module")
def server(tmp_path_factory, places):
    _, ftp, drs, _ = places
    folder = tmp_path_factory.mktemp("everywhere")
    (folder / "tesk.toml").write_text(
        f'[[storage.ftp]]\nhost = "{ftp.url[3:]}"\nuser = "{USER}"\npassword = "{PASSWORD}"\n'
        f'[[storage.drs]]\nhost = "{drs.authority}"\nplain = true\ntoken = "{drs_server.TOKEN}"\n'
        f'[[storage.drs_prefixes]]\nprefix = "dg.4503"\nhost = "{drs.authority}"\n'
    )
    with running(folder, CONFIG=str(folder / "tesk.toml")) as server:
        yield server


def test_inputs_from_everywhere_and_outputs_to_everywhere(client, server, places):
    folder, ftp, drs, http = places
    (folder / "ftp/in/deep").mkdir(parents=True)
    (folder / "ftp/in/deep/f t#p").write_text("ftp\n")
    (folder / "web/http").write_text("http\n")
    (server.files / "file").write_text("file\n")
    drs.add("one", b"drs\n")
    drs.add("two", b"compact\n")
    drs.wants = {"one": "bearer", "two": "bearer"}
    inputs = [
        {"url": f"ftp{ftp.url}/in/", "path": "/in/1", "type": "DIRECTORY"},
        {"url": f"{http.url}/http", "path": "/in/2/http"},
        {"url": f"file://{server.files}/file", "path": "/in/3/file"},
        {"url": f"{drs.url}/one", "path": "/in/4/drs"},
        {"url": "drs://dg.4503:two", "path": "/in/5/compact"},
        {"url": "data:;base64,ZGF0YQo=", "path": "/in/6/data"},
        {"content": "content\n", "path": "/in/7/content"},
    ]
    outputs = [
        {"url": f"ftp{ftp.url}/out/new/all", "path": "/out/all"},
        {"url": f"{http.url}/out/all", "path": "/out/all"},
        {"url": f"file://{server.files}/out/tree", "path": "/out", "type": "DIRECTORY"},
        {"url": f"ftp{ftp.url}/out/tree", "path": "/out", "type": "DIRECTORY"},
    ]
    command = "mkdir -p /out/empty; find /in -type f | sort | tr '\\n' '\\0' | xargs -0 cat > /out/all"
    task_id = client.submit("sh", "-c", command, inputs=inputs, outputs=outputs)
    task = client.get(task_id, "FULL") if client.until(task_id) != "COMPLETE" else None
    assert task is None, task["logs"]
    wanted = "ftp\nhttp\nfile\ndrs\ncompact\ndata\ncontent\n"
    assert (folder / "ftp/out/new/all").read_text() == wanted
    assert (folder / "web/out/all").read_text() == wanted
    for tree in (server.files / "out/tree", folder / "ftp/out/tree"):
        assert hashlib.sha256((tree / "all").read_bytes()).digest() == hashlib.sha256(wanted.encode()).digest()
        assert (tree / "empty").is_dir()
    log = server.log.read_text() + str(client.get(task_id, "FULL"))
    assert drs_server.TOKEN not in log
    assert PASSWORD not in log


def test_service_info_names_the_schemes(client, server):
    storage = client.ask("GET", "/ga4gh/tes/v1/service-info")["storage"]
    assert storage[0] == f"file://{server.files}/"
    assert {"drs://", "ftp://", "ftps://", "https://"} <= set(storage)
