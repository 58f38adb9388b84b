"""Lines to FTP servers: how many, whose login, how safe."""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes import ftp_old, ftp_server
from fakes.worlds_ftp import scheme
from fakes.worlds_web import certificate
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import FtpCredential, StorageSettings
from tesk.storage.ftp.line import Line
from tesk.storage.ftp.place import Site, place_of
from tesk.storage.ftp.scheme import FtpScheme, for_caller
from tesk.storage.patience import Patience
from tesk.tes.task import FileType


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def fetched(ftp: FtpScheme, url: str) -> bytes:
    with tempfile.TemporaryFile() as file:
        ftp.get(url, file.fileno(), nothing)
        return os.pread(file.fileno(), 1 << 20, 0)


def test_lines_are_kept_and_never_more_than_the_setting_says(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}").write_text(f"{number}")
    with (
        ftp_server.serve(tmp_path) as server,
        contextlib.closing(FtpScheme(private=True, connections_per_host=3)) as ftp,
    ):
        with ThreadPoolExecutor(12) as threads:
            got = list(threads.map(lambda number: fetched(ftp, f"ftp{server.url}/{number}"), range(60)))
        assert got == [f"{number}".encode() for number in range(60)]
        assert 1 <= server.connections <= 3


def test_a_line_that_the_server_has_ended_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    with ftp_server.serve(tmp_path, timeout=0.1) as server, scheme() as ftp:
        assert fetched(ftp, f"ftp{server.url}/a") == b"1"
        ended = server.ended.wait(10)
        assert ended
        assert fetched(ftp, f"ftp{server.url}/a") == b"1"
        assert server.connections == 2


def test_the_login_is_that_of_the_url_or_of_the_settings_for_this_caller(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    with ftp_server.serve(tmp_path) as server:
        authority = server.url.removeprefix("://")
        known = FtpCredential(
            host=authority, user=ftp_server.USER, password=ftp_server.PASSWORD, callers=("ann", "bob")
        )
        settings = StorageSettings(ftp=(known,), private_addresses=True)
        for caller, user in (("ann", "ann"), ("eve", "anonymous")):
            with contextlib.closing(for_caller(settings, caller)) as ftp:
                fetched(ftp, f"ftp://{authority}/a")
                fetched(ftp, f"ftp://anonymous:me@{authority}/a")
            users = [line for line in server.commands if line.startswith("USER")]
            assert users == [f"USER {user}", "USER anonymous"]
            server.commands.clear()


def test_a_host_that_is_denied_is_not_called(target: int) -> None:
    settings = StorageSettings(hosts_denied=("127.0.0.0/8",), private_addresses=True)
    with ftp_old.serve(files={"/a": b"1"}) as server, contextlib.closing(for_caller(settings, "ann")) as ftp:
        with pytest.raises(TransferRefused, match=r"storage\.hosts_denied"):
            ftp.get(f"{server.url}/a", target, nothing)
        assert server.commands == []


def test_data_connections_go_on_with_the_session_of_the_control(tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path)
    with ftp_old.serve(ftp_old.Safe, {"/a": b"1"}, tls) as server, scheme(context=trusting) as ftp:
        for _ in range(3):
            assert fetched(ftp, f"{server.url}/a") == b"1"
        with (tmp_path / "b").open("wb+") as file:
            file.write(b"2")
            file.flush()
            ftp.put(file.fileno(), f"{server.url}/b", nothing)
        assert server.files[b"/b"] == b"2"
        assert server.commands.count("AUTH TLS") == 1


def test_a_server_on_the_port_of_old_ftps_is_spoken_to_with_tls_from_the_first_byte(tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path)
    with ftp_old.serve(ftp_old.SafeFromTheStart, {"/a": b"1"}, tls) as server:
        control = socket.create_connection(server.server_address)
        site = Site("implicit", "127.0.0.1", 990)
        line = Line(control, site, private=True, timeout_seconds=10)
        line.open("ann", "", trusting)
        with line.data("RETR a") as data:
            assert data.recv(10) == b"1"
        line.close()
    assert place_of("ftps://h:990/a").site == Site("implicit", "h", 990)


def test_a_password_is_sent_only_to_a_server_whose_certificate_is_trusted(tmp_path: Path, target: int) -> None:
    tls, _ = certificate(tmp_path)
    with ftp_old.serve(ftp_old.Safe, {"/a": b"1"}, tls) as server, scheme() as ftp:
        with pytest.raises(TransferRefused, match="its certificate is not trusted here"):
            ftp.get(f"{server.url}/a", target, nothing)
        assert server.commands == ["AUTH TLS"]


def test_a_server_without_tls_is_never_spoken_to_without_it(target: int) -> None:
    with ftp_old.serve(files={"/a": b"1"}) as server, scheme() as ftp:
        with pytest.raises(TransferRefused, match="502"):
            ftp.get(server.url.replace("ftp:", "ftps:") + "/a", target, nothing)
        assert server.commands == ["AUTH TLS"]


def test_a_folder_that_holds_itself_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "top/a/back").symlink_to("..")
    with (
        ftp_server.serve(tmp_path) as server,
        scheme() as ftp,
        pytest.raises(TransferRefused, match="the link a/back/a leads back to a folder above it"),
    ):
        list(ftp.list(f"ftp{server.url}/top"))


def test_paths_count_from_the_folder_of_the_login_or_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("1")
    with ftp_server.serve(tmp_path) as server, scheme() as ftp:
        for path in ("/d/a", "//d/a", "/%2Fd/a"):
            assert fetched(ftp, f"ftp{server.url}{path}") == b"1"
        for path in ("", "/", "//"):
            entry = ftp.stat(f"ftp{server.url}{path}")
            assert entry is not None
            assert entry.type is FileType.DIRECTORY


def test_what_a_server_refuses_is_not_asked_twice(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("1")
    with (
        ftp_server.serve(tmp_path) as server,
        contextlib.closing(FtpScheme(private=True, patience=Patience(5))) as ftp,
        (tmp_path / "source").open("rb") as file,
    ):
        with pytest.raises(TransferRefused, match="550 Not enough privileges"):
            ftp.put(file.fileno(), f"ftp{server.url}/x", nothing)
        assert sum(line.startswith("STOR") for line in server.commands) == 1


def test_what_was_listed_is_not_asked_for_again_and_may_have_changed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "d" / name).write_text(name)
    with ftp_server.serve(tmp_path) as server, scheme(tries=2) as ftp:
        entries = list(ftp.list(f"ftp{server.url}/d"))
        (tmp_path / "d/b").write_text("longer now")
        (tmp_path / "d/c").write_text("")
        assert [fetched(ftp, entry.url) for entry in entries] == [b"a", b"longer now", b""]
        assert [line for line in server.commands if line.startswith("MLST")] == ["MLST d/b", "MLST d/c"]


def test_logins_go_over_the_line_as_utf_8(target: int) -> None:
    with ftp_old.serve(files={"/a": b"1"}) as server, scheme() as ftp:
        ftp.get(server.url.replace("//", "//j%C3%B6:%E2%82%AC@") + "/a", target, nothing)
        assert server.commands[:2] == ["USER jÃ¶", "PASS â\x82¬"]


def test_a_server_that_says_a_letter_now_and_then_is_given_up(target: int) -> None:
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        line, _ = server.accept()
        with line, contextlib.suppress(OSError):
            while not over.wait(0.05):
                line.sendall(b"2")

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,), daemon=True)
        dripping.start()
        with (
            contextlib.closing(FtpScheme(private=True, patience=Patience(1), timeout_seconds=0.3)) as ftp,
            pytest.raises(TransferFailed, match="slower than 100 bytes a second"),
        ):
            ftp.get(f"ftp://127.0.0.1:{server.getsockname()[1]}/x", target, lambda size: None)
        over.set()
        dripping.join()
