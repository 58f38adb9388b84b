"""How quickly the stager, as the program that it is, brings data in over HTTP and HTTPS: many small files, one large one.

Small files lie in memory at both ends: to make a file on a disk costs more than to bring it, for everybody alike.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import servers
from bench.apache import apache
from bench.commands import Spent, run
from bench.table import Figure, in_turn

FILES = 1000
FILE_BYTES = 64 * 1024
LARGE_BYTES = 1 << 30
ROUNDS = 5
AWAY_SECONDS = 0.005


def measure() -> list[Figure]:
    return [*_small(), *_large(), *_ftp()]


def _small() -> list[Figure]:
    """From a server that is some way off, and from one that is none."""
    figures = []
    for seconds, goal, note in (
        (AWAY_SECONDS, 3.0, ""),
        (
            0.0,
            1.0,
            "nothing is waited for here, so wget's one connection loses nothing",
        ),
    ):
        with _folder(Path("/dev/shm")) as folder, _away(folder, seconds) as url:
            urls = [f"{url}/small/{number:04}" for number in range(FILES)]
            (folder / "urls").write_text("".join(f"{url}\n" for url in urls))
            wget = ["wget", "-q", "-i", str(folder / "urls"), "-P", str(folder / "copies")]
            what = f"1,000 files of 64 KiB in by HTTP, {seconds * 1000:.0f} ms away, beside `wget -i`"
            figures.append(_beside(wget, folder, urls, what, goal=goal, note=note))
    return figures


def _large() -> list[Figure]:
    with _folder(None) as folder, apache(folder, folder / "served") as web:
        url = f"{web.https}/large"
        trusting = {"SSL_CERT_FILE": str(web.certificate)}
        curl = ["curl", "-sSf", "--cacert", str(web.certificate), "-o", str(folder / "copies/large"), url]
        found = in_turn(
            lambda: 1 / stage(folder, [url], LARGE_BYTES, trusting).seconds,
            lambda: 1 / _by(curl, folder, LARGE_BYTES).seconds,
            ROUNDS,
        )
    return [Figure("1 GiB in by HTTPS, beside `curl`", found[0], found[1], "GiB/s", found[2], ">=", 1.0)]


def _ftp() -> list[Figure]:
    """Beside a loop of ftplib, likewise from some way off and from none."""
    figures = []
    for seconds, goal, note in (
        (AWAY_SECONDS, 3.0, ""),
        (
            0.0,
            1.0,
            "nothing is waited for here; half of our time is the start of Python and of what ends with the task",
        ),
    ):
        with _folder(Path("/dev/shm")) as folder, _ftp_away(folder, seconds) as port:
            urls = [f"ftp://127.0.0.1:{port}/small/{number:04}" for number in range(FILES)]
            loop = [sys.executable, "-m", "bench.ftp_loop", str(port), "small", str(folder / "copies")]
            what = f"1,000 files of 64 KiB in by FTP, {seconds * 1000:.0f} ms away, beside a loop of ftplib"
            figures.append(_beside(loop, folder, urls, what, goal=goal, note=note))
    return figures


def _beside(command: list[str], folder: Path, urls: list[str], what: str, *, goal: float, note: str) -> Figure:
    """The stager and another program, in turn, over the same files."""
    found = in_turn(
        lambda: FILES / stage(folder, urls, FILES * FILE_BYTES).seconds,
        lambda: FILES / _by(command, folder, FILES * FILE_BYTES).seconds,
        ROUNDS,
    )
    return Figure(what, found[0], found[1], "files/s", found[2], ">=", goal, note)


@contextlib.contextmanager
def _ftp_away(folder: Path, seconds: float) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.ftpd", str(folder / "served"), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def stage(
    folder: Path, urls: list[str], size_bytes: int, env: dict[str, str] | None = None, **settings: object
) -> Spent:
    """Bring all that the URLs name into `folder`/root by the stager's program, see that it is so much, and take it away."""
    root = folder / "root"
    root.mkdir()
    inputs = [{"index": at, "path": f"/data/{at}", "url": url, "type": "FILE"} for at, url in enumerate(urls)]
    job = {
        "direction": "inputs",
        "transfers": {"caller": "local", "inputs": inputs},
        "root": str(root),
        "owner": None,
        "settings": {"private_addresses": True, **settings},
    }
    (folder / "job.json").write_text(json.dumps(job) + "\n")
    with (folder / "job.json").open("rb") as told, (folder / "report.json").open("wb") as said:
        spent = run([sys.executable, "-m", "tesk.stager"], env=env, stdin=told.fileno(), stdout=said.fileno())
    _whole(root / "data", size_bytes, (folder / "report.json").read_text()[-2000:])
    shutil.rmtree(root)
    return spent


def _by(command: list[str], folder: Path, size_bytes: int) -> Spent:
    copies = folder / "copies"
    copies.mkdir()
    spent = run(command)
    _whole(copies, size_bytes, command[0])
    shutil.rmtree(copies)
    return spent


def _whole(folder: Path, size_bytes: int, why: str) -> None:
    if not folder.is_dir() or sum(path.stat().st_size for path in folder.iterdir()) != size_bytes:
        raise RuntimeError(f"not whole: {why}")


@contextlib.contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    """A folder to work in; in its `served` lie the small files where it is in memory, else the large one."""
    with tempfile.TemporaryDirectory(prefix="tesk-bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "served/small").mkdir(parents=True)
        if parent is not None:
            for number in range(FILES):
                (folder / f"served/small/{number:04}").write_bytes(os.urandom(FILE_BYTES))
        else:
            block = os.urandom(1 << 20)
            with (folder / "served/large").open("wb") as file:
                for _ in range(LARGE_BYTES >> 20):
                    file.write(block)
        yield folder


@contextlib.contextmanager
def _away(folder: Path, seconds: float) -> Iterator[str]:
    """A server of `folder`/served that needs so long for each answer; without a wait, one that is as quick as any."""
    if not seconds:
        with apache(folder, folder / "served") as web:
            yield web.http
        return
    port = servers.free_port()
    (folder / "served/index").touch()
    command = [sys.executable, "-m", "bench.sendfile", str(port), str(folder / "served"), str(seconds)]
    with servers.running(command, port, "/index", env={}, cwd=servers.HERE.parent, log=folder / "http.log"):
        yield f"http://127.0.0.1:{port}"
