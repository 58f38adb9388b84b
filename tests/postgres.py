"""A real PostgreSQL server of the tests' own: from the distribution's programs, on a folder and a port of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TextIO

from ports import free_port

USER = "tesk"
START_SECONDS = 60


class Missing(Exception):
    """There is no PostgreSQL to start; the message says what to install."""


def programs() -> Path:
    """Return the folder of initdb and postgres. Debian keeps it off PATH."""
    found = [Path(name).resolve().parent for name in (shutil.which("initdb"),) if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in found:
        if (folder / "postgres").exists():
            return folder
    raise Missing("PostgreSQL is not installed here: run scripts/install-test-needs")


def _other_user() -> pwd.struct_passwd | None:
    """Return whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("PostgreSQL cannot run as root, and there is neither a user postgres nor nobody")


class Server:
    """One server; `stop` and `start` again as a test likes. At another `address` than loopback everybody is let in, too."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self._address = address
        self.programs = programs()
        self._user = _other_user()
        self._numbers = count(1)
        self.process: subprocess.Popen[str] | None = None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        made = self._spawn("initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        said, _ = made.communicate(timeout=START_SECONDS)
        if made.returncode:
            raise Missing(f"initdb failed: {said}")
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        self.port = free_port(address)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start, and return when it answers."""
        self.process = self._spawn(
            "postgres", "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder),
            "-c", f"listen_addresses={self._address}", "-c", "shared_buffers=32MB", "-c", "log_min_messages=log",
            # Its transactions would hold the newest events back for a moment, now and then.
            "-c", "autovacuum=off",
            # What a killed one has written the kernel keeps; no power fails here, and other tests beside keep the disk busy.
            "-c", "fsync=off",
        )  # fmt: skip
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "ready to accept connections" in line:
                break
        else:
            raise Missing("PostgreSQL does not start: " + "".join(said))
        # Whoever does not read on would stop it once the pipe is full.
        self._reader = threading.Thread(target=_read_on, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT in order, SIGQUIT as a crash would. Return when it is gone."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)
            self._reader.join()
            self.process = None

    @contextmanager
    def away(self, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
        """Be stopped for as long as the block, whatever becomes of it: other tests want the server."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{next(self._numbers)}"
        subprocess.run(
            [self.programs / "createdb", "-h", self._address, "-p", str(self.port), "-U", USER, name], check=True
        )
        return f"postgresql://{USER}@{self._address}:{self.port}/{name}"

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        user = {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **user,
        )


def _read_on(said: TextIO) -> None:
    with said:
        said.read()


@contextmanager
def running(address: str = "127.0.0.1") -> Iterator[Server]:
    """Run a server for as long as the block. Raises Missing."""
    programs()
    folder = Path(tempfile.mkdtemp(prefix="tesk-pg-"))
    try:
        server = Server(folder, address)
        server.start()
        try:
            yield server
        finally:
            # What it would write down for its next start goes with the folder.
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)
