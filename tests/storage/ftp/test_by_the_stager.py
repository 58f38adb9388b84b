"""Trees of FTP servers as the stager brings them in, and what of a hostile one it makes."""

import stat
from pathlib import Path

import pytest

from fakes import ftp_old, ftp_server
from tesk.settings import StorageSettings
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport


def moved(root: Path, *, inputs: tuple[Fetch, ...] = (), outputs: tuple[Deliver, ...] = ()) -> TransferReport:
    root.mkdir(exist_ok=True)
    job = Job(
        direction="inputs" if inputs else "outputs",
        transfers=TransferList(caller="ann", inputs=inputs, outputs=outputs),
        root=str(root),
        owner=None,
        settings=StorageSettings(private_addresses=True, file_roots=(), tries=1),
    )
    report = run(job, Stop())
    assert report is not None
    return report


def test_a_tree_goes_there_and_back_with_its_empty_folders(tmp_path: Path) -> None:
    sent = tmp_path / "sent/data/tree"
    (sent / "empty/deep").mkdir(parents=True)
    (sent / "a b/#").mkdir(parents=True)
    (sent / "a b/#/%?").write_text("1")
    (tmp_path / "served").mkdir()
    with ftp_server.serve(tmp_path / "served") as server:
        url = f"ftp://{ftp_server.USER}:{ftp_server.PASSWORD}@{server.url[3:]}/new/tree"
        assert moved(tmp_path / "sent", outputs=(Deliver(index=0, path="/data/tree", url=url),)).error is None
        fetch = Fetch(index=0, path="/data/tree", url=url, type=FileType.DIRECTORY)
        assert moved(tmp_path / "got", inputs=(fetch,)).error is None
    got = tmp_path / "got/data/tree"
    assert sorted(str(path.relative_to(got)) for path in got.rglob("*")) == [
        "a b",
        "a b/#",
        "a b/#/%?",
        "empty",
        "empty/deep",
    ]
    assert (got / "a b/#/%?").read_text() == "1"


def test_modes_are_told_where_the_server_takes_them(tmp_path: Path) -> None:
    sent = tmp_path / "sent/tree"
    (sent / "closed").mkdir(parents=True)
    (sent / "open").mkdir()
    for name, mode in (("closed/run.sh", 0o777), ("closed/data", 0o644), ("open/secret", 0o600)):
        (sent / name).write_text("1")
        (sent / name).chmod(mode)
    (sent / "closed").chmod(0o500)
    (tmp_path / "served").mkdir()
    for where, lacks in (("able", ""), ("unable", "SITE CHMOD")):
        knows = {name: how for name, how in ftp_server.FTPHandler.proto_cmds.items() if name != lacks}
        with ftp_server.serve(tmp_path / "served", proto_cmds=knows) as server:
            url = f"ftp://{ftp_server.USER}:{ftp_server.PASSWORD}@{server.url[3:]}/{where}"
            assert moved(tmp_path / "sent", outputs=(Deliver(index=0, path="/tree", url=url),)).error is None
            asked = [command for command in server.commands if command.startswith("SITE")]
        assert 1 <= len(asked) <= 3
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "served/able").rglob("*")}
    assert modes == {"closed": 0o700, "run.sh": 0o755, "data": 0o644, "open": 0o755, "secret": 0o600}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n" * 300, "the name is longer than the file system takes"),
        ("../../etc/passwd", "a name that no file can have"),
        ("/etc/passwd", "a name that no file can have"),
    ],
)
def test_a_hostile_list_makes_nothing(tmp_path: Path, name: str, words: str) -> None:
    with ftp_old.serve(files={f"/{name}": b"1"}) as server:
        server.listings = {b"/": f"-rw-r--r-- 1 f f 1 Jan 1 2020 {name}\r\n".encode()}
        fetch = Fetch(index=0, path="/data/tree", url=f"{server.url}/", type=FileType.DIRECTORY)
        report = moved(tmp_path / "root", inputs=(fetch,))
    assert words in (report.error or "")
    assert not report.retry
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []
