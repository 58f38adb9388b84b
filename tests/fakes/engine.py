"""A real container engine for tests: podman with storage of its own, and images built on the spot from busybox-static.

`ENGINE_OF_TESTS=docker` takes docker instead, where its daemon runs, with the storage that it has.
"""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.attempts import ShelfStager
from tesk.compute.containers.backend import ContainersBackend, as_it_is
from tesk.compute.containers.machine import Resolve
from tesk.settings import ContainersSettings

IMAGE = "localhost/debian:latest"
"""Found under the name that tests use for images, `debian`."""

KIND = os.environ.get("ENGINE_OF_TESTS", "podman")
_RUNTIMES = ("crun", "runc")


class Missing(Exception):
    """There is no engine here; the sentence says why."""


class Engine:
    """podman, as the tests' own settings make it. `variables` are what a server needs in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Limits of a machine that cannot raise them; a manager of control groups that needs no systemd.
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
            f'[engine]\nruntime = "{_runtime()}"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        )
        (folder / "runtime").mkdir(mode=0o700)
        self.variables = {
            "XDG_RUNTIME_DIR": f"{folder}/runtime",
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        }

    def run(self, *arguments: str, given: bytes = b"") -> str:
        """Run podman and return what it says; it must succeed."""
        done = subprocess.run(
            [KIND, "--log-level", "error", *arguments],
            input=given,
            env=os.environ | self.variables,
            capture_output=True,
            check=False,
            timeout=100,
        )
        if done.returncode != 0:
            raise Missing(f"{KIND} {arguments[0]} does not work here: {done.stderr.decode()[-500:]}")
        return done.stdout.decode()

    def build(self, name: str = IMAGE, *changes: str, files: dict[str, bytes] | None = None) -> None:
        """Make an image of busybox and some files."""
        options = [word for change in ("ENV LANG=C.UTF-8", *changes) for word in ("--change", change)]
        self.run("import", *options, "-", name, given=_root(files or {}))

    def remove(self, *names: str) -> None:
        """Kill and remove containers."""
        self.run("rm", "--force", *(("--time", "0") if KIND == "podman" else ()), *names)

    def close(self) -> None:
        """Remove all that was made."""
        if KIND == "docker":
            if names := self.run("ps", "--all", "--quiet", "--filter", "label=tesk.place").split():
                self.remove(*names)
            return
        with contextlib.suppress(Missing):
            self.run("rm", "--all", "--force", "--time", "0")
            if os.geteuid() != 0:
                self.run("unshare", "rm", "-rf", f"{self.folder}/graph", f"{self.folder}/run")
                self.run("system", "migrate")  # what holds the user's namespace ends
        subprocess.run(["umount", f"{self.folder}/graph/overlay"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _runtime() -> str:
    # crun of some distributions does not know the kernels of today with control groups of the old kind.
    old = not os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    wanted = reversed(_RUNTIMES) if old else _RUNTIMES
    found = next((name for name in wanted if shutil.which(name)), None)
    if found is None:
        raise Missing("neither runc nor crun is installed; try: apt install runc")
    return found


def _root(files: dict[str, bytes]) -> bytes:
    """The root of an image, as a tar archive."""
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if busybox is None:
        raise Missing("busybox is not installed; try: apt install busybox-static")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {name: "busybox" for name in names if name != "busybox"}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:

        def add(name: str, mode: int, kind: bytes, data: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.size, entry.linkname = mode, kind, len(data), link
            tar.addfile(entry, io.BytesIO(data))

        usual = ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "var")
        above = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
        for folder in dict.fromkeys((*usual, *above)):
            add(folder, 0o755, tarfile.DIRTYPE)
        add("tmp", 0o1777, tarfile.DIRTYPE)
        add(
            "etc/passwd",
            0o644,
            tarfile.REGTYPE,
            b"root:x:0:0:root:/root:/bin/sh\nsomebody:x:1234:1234::/home:/bin/sh\n",
        )
        add("bin/busybox", 0o755, tarfile.REGTYPE, Path(busybox).read_bytes())
        for name, target in links.items():
            add(f"bin/{name}", 0o777, tarfile.SYMTYPE, link=target)
        for name, data in files.items():
            add(name, 0o755, tarfile.REGTYPE, data)
    return archive.getvalue()


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """Give an engine with the image IMAGE. Raises Missing."""
    if shutil.which(KIND) is None:
        raise Missing(f"{KIND} is not installed; try: apt install {KIND}")
    # In a short place: where its sockets have longer paths than a socket may, podman waits 20 s for the end of each container.
    engine = Engine(Path(tempfile.mkdtemp(prefix="tesk-")))
    try:
        engine.build()
        if KIND == "docker":
            engine.run("tag", IMAGE, "debian:latest")
        yield engine
    finally:
        engine.close()


@contextlib.asynccontextmanager
async def containers(
    folder: Path, stager: ShelfStager | None = None, resolve: Resolve = as_it_is, **settings
) -> AsyncIterator[ContainersBackend]:
    """Give a backend `containers` that is open, within `engine`'s environment. What it leaves is removed at the end."""
    work = folder / "containers"
    work.mkdir(parents=True, exist_ok=True)
    backend = ContainersBackend(
        ContainersSettings(**{"engine": KIND, "network": "off", "pull": "never", **settings}),
        work,
        stager or ShelfStager(),
        resolve,
    )
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


@contextlib.contextmanager
def in_environment(engine: Engine) -> Iterator[None]:
    """Let this process use an engine."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine.variables.items():
            patch.setenv(name, value)
        yield
