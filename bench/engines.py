"""What a task in its image costs beside the same `podman run` by hand, one at a time and four at once."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import servers, tasks
from bench.outstanding import keep
from bench.table import Figure, in_turn

ROUNDS = 5
AT_ONCE = 4
AMOUNT = 12
RAM_BYTES = 50_000_000
IMAGE = "localhost/tesk-bench:1"


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, _podman(Path(name)) as environment:
        folder = Path(name)
        no_op = tasks.encode(tasks.bare("true", image=IMAGE))
        # As a server has it that nobody has set anything on.
        settings = {"BACKEND": "containers", "CONTAINERS_CPU_CORES": str(AT_ONCE + 1)}
        with servers.tesk(folder, settings=settings) as server:

            def ours(at_once: int, amount: int) -> float:
                kept = keep(server.port, at_once, amount, no_op)
                return kept.rate if at_once > 1 else kept.median_seconds * 1000

            keep(server.port, 1, 1, no_op)
            one = in_turn(lambda: ours(1, 5), lambda: _by_hand(1, 5, environment)[1], ROUNDS)
            many = in_turn(lambda: ours(AT_ONCE, AMOUNT), lambda: _by_hand(AT_ONCE, AMOUNT, environment)[0], ROUNDS)
    beside = "beside the same `podman run --rm` by hand"
    return [
        Figure(f"one no-op task through `containers`, POST to COMPLETE, {beside}", *_timed(one), "<=", 1.1),
        Figure(f"no-op tasks through `containers`, {AT_ONCE} at a time, {beside}", *_rated(many), ">=", 0.9),
    ]


def _timed(measured: tuple[float, float, float]) -> tuple[float, float, str, float]:
    return measured[0], measured[1], "ms", measured[2]


def _rated(measured: tuple[float, float, float]) -> tuple[float, float, str, float]:
    return measured[0], measured[1], "/s", measured[2]


def _by_hand(at_once: int, amount: int, environment: dict[str, str]) -> tuple[float, float]:
    """Type the same command so many times; return how many a second, and the median milliseconds of one."""
    command = [
        *("podman", "run", "--rm", "--init", "--pull", "never", "--cap-drop", "all"),
        *("--security-opt", "no-new-privileges", "--pids-limit", "4096", "--cpus", "1"),
        *("--memory", f"{RAM_BYTES}b", "--memory-swap", f"{RAM_BYTES}b", IMAGE, "true"),
    ]

    def one(_: int) -> float:
        begun = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        return time.perf_counter() - begun

    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        spent = sorted(pool.map(one, range(amount)))
    return amount / (time.perf_counter() - begun), spent[len(spent) // 2] * 1000


@contextlib.contextmanager
def _podman(folder: Path) -> Iterator[dict[str, str]]:
    """Give podman storage of its own with an image of busybox, for us and the servers that we start."""
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
    added = {name: str(folder / file) for name, file in names.items()}
    os.environ.update(added)
    try:
        subprocess.run(["podman", "import", "-", IMAGE], input=_image(), capture_output=True, check=True)
        yield dict(os.environ)
    finally:
        subprocess.run(["podman", "rm", "--all", "--force", "--time", "0"], capture_output=True, check=False)
        subprocess.run(["umount", folder / "graph/overlay"], capture_output=True, check=False)
        for name in added:
            del os.environ[name]


def _image() -> bytes:
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("bin/true")
        entry.mode, entry.size = 0o755, len(busybox)
        tar.addfile(entry, io.BytesIO(busybox))
    return archive.getvalue()
