"""The stager on this host: small work in a thread, other work in a program that ends when nobody wants it any more."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec import json

from fakes.web import Files, Silent, serve
from tesk.settings import FileRoot, HttpCredential, StorageSettings
from tesk.stager.host import HostStager
from tesk.stager.job import Job, Most
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport

APART = Most(files=0, size_bytes=0)


def settings(area: Path) -> StorageSettings:
    return StorageSettings(
        file_roots=(FileRoot(path=str(area), write=True),),
        private_addresses=True,
        http=(HttpCredential(host="127.0.0.1", token="secret"),),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "source").write_text("data")
    return tmp_path / "root"


@pytest.mark.parametrize("small", [Most(files=10, size_bytes=100), APART], ids=["thread", "program"])
def test_both_ways_give_the_same_report(root: Path, small: Most) -> None:
    async def story() -> tuple[TransferReport, TransferReport]:
        stager = HostStager(settings(root.parent), small=small)
        transfers = TransferList(
            caller="me",
            inputs=(
                Fetch(index=0, path="/in/a", url=str(root.parent / "source")),
                Fetch(index=1, path="/in/b", content="x"),
            ),
            outputs=(Deliver(index=0, path="/in/*", path_prefix="/in", url=f"{root.parent}/out"),),
        )
        try:
            return await stager.fetch(transfers, root, None), await stager.deliver(transfers, root)
        finally:
            stager.close()

    fetched, delivered = asyncio.run(story())
    assert (fetched.error, fetched.size_bytes) == (None, 5)
    assert (delivered.error, delivered.size_bytes) == (None, 5)
    assert (root.parent / "out/a").read_text() == "data"


def test_nothing_to_do_is_done_at_once(root: Path) -> None:
    async def story() -> None:
        stager = HostStager(settings(root.parent))
        nothing = TransferList(caller="me")
        assert await stager.fetch(nothing, root / "not there", None) == TransferReport()
        assert await stager.deliver(nothing, root / "not there") == TransferReport()
        stager.close()

    asyncio.run(story())


def children() -> set[int]:
    """Our processes that are stagers, by their command line."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"tesk.stager" in (folder / "cmdline").read_bytes()
                and f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text()
            ):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


class Slow(Silent):
    """Says when it was asked, so that nobody need wait by the clock."""

    asked: "asyncio.Event"
    loop: asyncio.AbstractEventLoop

    def answer(self, *, head: bool = False) -> None:
        self.loop.call_soon_threadsafe(self.asked.set)
        super().answer()


def test_a_canceled_transfer_leaves_no_process_and_no_secret_in_arguments(root: Path) -> None:
    async def story() -> None:
        Slow.asked, Slow.loop = asyncio.Event(), asyncio.get_running_loop()
        stager = HostStager(settings(root.parent))
        with serve(Slow) as web:
            transfers = TransferList(caller="me", inputs=(Fetch(index=0, path="/a", url=f"{web.url}/a"),))
            moving = asyncio.create_task(stager.fetch(transfers, root, None))
            async with asyncio.timeout(20):
                await Slow.asked.wait()
            (child,) = children()
            assert b"secret" not in command_line(child)
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving
        assert children() == set()
        stager.close()

    asyncio.run(story())


def test_a_transfer_that_waits_for_others_is_canceled_at_once(root: Path) -> None:
    async def story() -> None:
        stager, others = HostStager(settings(root.parent)), threading.Event()
        for _ in range(stager._threads._max_workers):
            stager._threads.submit(others.wait)
        transfers = TransferList(caller="me", inputs=(Fetch(index=0, path="/a", content="a"),))
        moving = asyncio.create_task(stager.fetch(transfers, root, None))
        try:
            while not stager._threads._work_queue.qsize():  # noqa: ASYNC110  a queue's length has no event
                await asyncio.sleep(0)
            moving.cancel()
            async with asyncio.timeout(10):
                with pytest.raises(asyncio.CancelledError):
                    await moving
        finally:
            others.set()
            stager.close()

    asyncio.run(story())
    assert list(root.iterdir()) == []


def test_a_program_that_is_killed_is_reported_and_may_be_tried_again(root: Path) -> None:
    async def story() -> TransferReport:
        Slow.asked, Slow.loop = asyncio.Event(), asyncio.get_running_loop()
        stager = HostStager(settings(root.parent))
        with serve(Slow) as web:
            transfers = TransferList(caller="me", inputs=(Fetch(index=0, path="/a", url=f"{web.url}/a"),))
            moving = asyncio.create_task(stager.fetch(transfers, root, None))
            async with asyncio.timeout(20):
                await Slow.asked.wait()
            for child in children():
                os.kill(child, signal.SIGKILL)
            report = await moving
        stager.close()
        return report

    report = asyncio.run(story())
    assert report.error == "the stager ended with -9 and no report: no word"
    assert report.retry


def job(root: Path, url: str, *, held: bool) -> bytes:
    transfers = TransferList(caller="me", inputs=(Fetch(index=0, path="/a", url=url),))
    return (
        json.encode(
            Job(
                direction="inputs",
                transfers=transfers,
                root=str(root),
                owner=None,
                settings=settings(root.parent),
                held=held,
            )
        )
        + b"\n"
    )


class Waits(Silent):
    asked = threading.Event()

    def answer(self, *, head: bool = False) -> None:
        self.asked.set()
        super().answer()


def test_the_program_ends_when_its_parent_does(root: Path) -> None:
    with serve(Waits) as web:
        command = [sys.executable, "-P", "-m", "tesk.stager"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job(root, f"{web.url}/a", held=True))
        process.stdin.flush()
        assert Waits.asked.wait(20)
        process.stdin.close()
        assert process.wait(20) == 1
        assert b"report" not in process.stdout.read()
        process.stdout.close()


def test_the_program_works_alone(root: Path) -> None:
    with serve(Files, {"/a": b"web"}) as web:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tesk.stager"],
            input=job(root, f"{web.url}/a", held=False),
            capture_output=True,
            check=True,
        )
    report = json.decode(done.stdout, type=TransferReport)
    assert (report.error, report.size_bytes) == (None, 3)
    assert done.stdout.count(b"\n") == 1
    assert (root / "a").read_bytes() == b"web"


@pytest.mark.parametrize("said", [b"", b"{}\n", b"nonsense"])
def test_the_program_says_when_it_has_no_job(said: bytes) -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "tesk.stager"], input=said, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"no job on stdin" in done.stderr


def test_a_module_in_the_folder_of_the_server_is_never_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tesk.py", "ssl.py", "socket.py", "msgspec.py"):
        (root.parent / name).write_text("raise SystemExit('planted')")
    monkeypatch.chdir(root.parent)

    async def story() -> TransferReport:
        stager = HostStager(settings(root.parent), small=APART)
        report = await stager.fetch(
            TransferList(caller="me", inputs=(Fetch(index=0, path="/a", content="x"),)), root, None
        )
        stager.close()
        return report

    assert asyncio.run(story()).error is None
