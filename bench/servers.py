"""Start and stop what is measured: our server, FOCA, a hello-world, PostgreSQL; read what a process tree costs."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers on loopback."""

    port: int
    pid: int
    start_seconds: float
    """From the start of the process to the first answer."""

    def cpu_seconds(self) -> float:
        """Return what the process and its descendants that still live have used."""
        total = 0
        for pid in tree(self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory_bytes(self) -> int:
        """Return the proportional set size of the process and its descendants."""
        total = 0
        for pid in tree(self.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for known in found:
        for thread in Path(f"/proc/{known}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += [int(child) for child in thread.read_text().split()]
    return found


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, path: str, *, env: dict[str, str], cwd: Path, log: Path) -> Iterator[Server]:
    """Run a server until the block ends. Raises RuntimeError, with the end of its log, where it does not answer."""
    begun = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=os.environ | env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        while not _answers(port, path):
            if process.poll() is not None or time.perf_counter() - begun > 60:
                raise RuntimeError(f"{command[0]} did not answer:\n{log.read_text()[-2000:]}")
            time.sleep(0.002)
        yield Server(port, process.pid, time.perf_counter() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    # A bare connect first: a refused one costs microseconds, where urllib costs a millisecond.
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


@contextlib.contextmanager
def tesk(folder: Path, *, database: str = "", settings: dict[str, str] | None = None) -> Iterator[Server]:
    """Our server on a data folder of its own; `settings` are variables without their `TESK_`."""
    port = free_port()
    env = {"TESK_DATA_DIR": str(folder / "data"), "TESK_LOG_LEVEL": "warning", "TESK_LOCAL_NETWORK": "off"}
    env |= {f"TESK_{name}": value for name, value in (settings or {}).items()}
    if database:
        env["TESK_DATABASE"] = database
    command = [str(Path(sys.executable).with_name("tesk")), "serve", "--port", str(port)]
    with running(command, port, "/readyz", env=env, cwd=folder, log=folder / "tesk.log") as server:
        yield server


@contextlib.contextmanager
def foca(folder: Path, task: Path) -> Iterator[Server]:
    """A minimal FOCA server on gunicorn with 8 threads, no store; it answers with the task in the file `task`."""
    port = free_port()
    gunicorn = peer("foca").with_name("gunicorn")
    command = [str(gunicorn), "--workers", "1", "--threads", "8", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    env = {"BENCH_TASK": str(task)}
    with running(
        [*command, "--chdir", str(HERE / "foca"), "app:app"],
        port,
        "/ga4gh/tes/v1/service-info",
        env=env,
        cwd=folder,
        log=folder / "foca.log",
    ) as server:
        yield server


@contextlib.contextmanager
def hello(folder: Path) -> Iterator[Server]:
    """A Starlette hello-world on uvicorn, of our own environment."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "--app-dir", str(HERE)]
    with running([*command, "hello:app"], port, "/", env={}, cwd=folder, log=folder / "hello.log") as server:
        yield server


def peer(name: str) -> Path:
    """Return the Python of a peer's own environment, made where it is not there yet."""
    made = subprocess.run([HERE.parent / "scripts/make-peer", name], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, durable as it comes; yields its URL, to which the name of one of two empty databases belongs: `served`, `fed`. Where we are root it runs as `postgres`."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    bin_folder = programs[-1] if programs else Path(found).parent if found else None
    if bin_folder is None:
        raise RuntimeError("PostgreSQL is not installed: scripts/install-test-needs")
    folder = Path(tempfile.mkdtemp(prefix="tesk-bench-postgres-"))
    who = {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.getuid() == 0 else {}
    if who:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    port = free_port()
    data = folder / "data"
    quiet = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | who
    subprocess.run(
        [bin_folder / "initdb", "--no-sync", "--auth=trust", "--username=tesk", "-D", data], check=True, **quiet
    )
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "log_min_messages=fatal"]
    process = subprocess.Popen([bin_folder / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, **quiet)
    try:
        asked = [bin_folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(600):
            if subprocess.run(asked, check=False).returncode == 0:
                break
            time.sleep(0.05)
        for database in ("served", "fed"):
            subprocess.run(
                [bin_folder / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "tesk", database], check=True
            )
        yield f"postgresql://tesk@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)
