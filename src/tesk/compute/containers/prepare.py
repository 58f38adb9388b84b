"""Make one attempt's folders ready for its containers, and each container its streams, environment and command line."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, normpath

from tesk.compute.backend import Stream
from tesk.compute.containers import environment
from tesk.compute.containers.arguments import Bind, Container, binds, network_of, run_arguments
from tesk.compute.containers.engine import Engine, Image
from tesk.compute.containers.hooks import write_hooks
from tesk.compute.containers.images import Images
from tesk.compute.containers.streams import trim
from tesk.compute.machine.streams import File, Written
from tesk.compute.plan import Plan, Shared, Step
from tesk.errors import CannotRun
from tesk.inside import Inside, delete_folder
from tesk.settings import ContainersSettings

# Executors may be anybody in their images, and nobody else of this machine comes through the folder above.
_FOLDER, _FILE = 0o777, 0o666


class Streams:
    """The streams of one executor. `named` are those that are files of the task's own."""

    def __init__(self, stdin: int, stdout: File, stderr: File, named: frozenset[Stream], keep_bytes: int) -> None:
        self._stdin = stdin
        self._files: dict[Stream, File] = {"stdout": stdout, "stderr": stderr}
        self._named = named
        self._keep_bytes = keep_bytes
        self._open = True

    def given(self) -> tuple[int, int, int]:
        """What the engine gets as 0, 1 and 2."""
        return self._stdin, self._files["stdout"].write_fd, self._files["stderr"].write_fd

    def written(self, stream: Stream) -> Written:
        """Return what was written so far."""
        return self._files[stream].written()

    def complaints(self) -> bytes:
        """Return the end of stderr."""
        return self._files["stderr"].written().tail

    def trim(self) -> None:
        """Give back the disk that the beginnings of streams take which the task names no file for."""
        for stream in self._files.keys() - self._named if self._open else ():
            trim(self._files[stream].write_fd, self._keep_bytes)

    def end(self) -> tuple[Written, Written]:
        """Let go of all, and return what stdout and stderr held."""
        self.close()
        return self.written("stdout"), self.written("stderr")

    def close(self) -> None:
        """Let go of all; what was written is remembered. Twice is once."""
        if self._open:
            self._open = False
            os.close(self._stdin)
            for file in {*self._files.values()}:
                file.close()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready for one executor. `odd` are variables that go another way than the others."""

    streams: Streams
    binds: tuple[Bind, ...]
    hooks: tuple[str, ...]
    odd: bool


class Preparation:
    """What stands ready in `folder` for the containers of one attempt."""

    def __init__(self, engine: Engine, settings: ContainersSettings, plan: Plan, folder: Path) -> None:
        self._engine = engine
        self._settings = settings
        self._plan = plan
        self._folder = folder
        self.root = folder / "root"

    def own(self, step: Step) -> Path:
        """The folder of one executor's own files."""
        return self._folder / "own" / str(step.index)

    def empty_root(self) -> None:
        """Begin anew: a server before us may have brought in a half of it."""
        if any(self.root.iterdir()):
            delete_folder(self.root)
            self.root.mkdir(mode=0o700)

    def make_folders(self) -> None:
        """Make the shared paths that no input brought, and the folders in which programs will write; open them to whoever comes."""
        with Inside(self.root) as inside:
            for entry in self._plan.shared:
                match entry.kind:
                    case Shared.FOLDER | Shared.WORKDIR:
                        _make(inside, entry.path)
                    case Shared.OUTPUT_FILE | Shared.INPUT_FILE:
                        if inside.stat(entry.path) is None:
                            _make(inside, dirname(entry.path))
                            os.close(_open("path", entry.path, inside, os.O_RDWR | os.O_CREAT))
                            inside.chmod(entry.path, _FILE)
            for folder in self._plan.folders:
                _make(inside, folder)

    async def left_out(self, images: Images, image: Image, step: Step, name: str, label: str) -> frozenset[str]:
        """Return the working directories that the image has itself: these are not covered."""
        asked = [entry.path for entry in self._plan.shared if entry.kind is Shared.WORKDIR]
        wanted = [path for path in asked if step.workdir is not None and normpath(step.workdir) == path]
        there = {path for path in wanted if await images.holds_folder(image, path, name, label)}
        return frozenset(there)

    def prepare(self, step: Step, left_out: frozenset[str]) -> Prepared:
        """Make all that one executor needs. Raises CannotRun with the path that is in the way."""
        own = self.own(step)
        own.mkdir(mode=0o700, exist_ok=True)
        for name in ("pid", "conmon", "id", "oom"):
            (own / name).unlink(missing_ok=True)
        plain = environment.plain(step.env)
        odd = {name: value for name, value in step.env.items() if name not in plain}
        hooks = self._hooks(own, odd)
        _write(own / "environment", environment.lines(plain).encode())
        with Inside(self.root) as inside:
            if step.workdir is not None and _shared(self._plan, normpath(step.workdir)):
                _make(inside, normpath(step.workdir))
            streams = self._open(step, inside, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            shown = binds(self._plan, str(self.root), left_out=left_out)
            _check_links(self.root, shown)
        except CannotRun:
            streams.close()
            raise
        return Prepared(streams, shown, hooks, bool(odd))

    def arguments(
        self, step: Step, prepared: Prepared, *, name: str, image: str, labels: dict[str, str], devices: tuple[str, ...]
    ) -> list[str]:
        """Return the engine's command line for what was prepared."""
        container = Container(
            name=name,
            image=image,
            labels=labels,
            own=str(self.own(step)),
            binds=prepared.binds,
            user=self._user(),
            devices=devices,
            hooks=prepared.hooks,
            token=environment.TOKEN if prepared.odd else None,
        )
        return run_arguments(container, self._plan, step, self._settings, self._engine.facts)

    def reopen(self, step: Step) -> Streams:
        """Open the streams of what a server before us started, to read them."""
        with Inside(self.root) as inside:
            return self._open(step, inside, os.O_RDWR | os.O_CREAT)

    def _user(self) -> str:
        if self._engine.facts.kind == "docker" and os.geteuid() != 0:
            # Who somebody is in a container is who they are outside, and their files we could neither read nor remove.
            return f"{os.geteuid()}:{os.getegid()}"
        return self._settings.user

    def _hooks(self, own: Path, odd: dict[str, str]) -> tuple[str, ...]:
        if self._engine.facts.kind == "podman":
            return tuple(write_hooks(own / "hooks", odd, network_of(self._settings.network, self._engine.facts)))
        if odd:
            raise CannotRun(
                f"The value of {next(iter(odd))} has several lines, or is very long; docker takes such values in its "
                "arguments only, which everybody on this machine may read. With podman it can be run."
            )
        return ()

    def _open(self, step: Step, inside: Inside, flags: int) -> Streams:
        keep = self._plan.tail_bytes
        if step.stdin is None:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        else:
            stdin = _open("stdin", step.stdin, inside, os.O_RDONLY)
        files: list[File] = []
        try:
            for name, path in (("stdout", step.stdout), ("stderr", step.stderr)):
                if name == "stderr" and path is not None and path == step.stdout:
                    files.append(files[0])
                elif path is None:
                    files.append(File(os.open(self.own(step) / name, flags | os.O_CLOEXEC, 0o600), keep))
                else:
                    _make(inside, dirname(normpath(path)))
                    # Both streams may go to one file: each write goes to its end, then.
                    more = os.O_APPEND if step.stderr == step.stdout else 0
                    files.append(File(_open(name, path, inside, flags | more), keep))
        except (CannotRun, OSError):
            os.close(stdin)
            for file in files:
                file.close()
            raise
        named: set[Stream] = set()
        if step.stdout is not None:
            named.add("stdout")
        if step.stderr is not None:
            named.add("stderr")
        return Streams(stdin, files[0], files[1], frozenset(named), keep)


def _check_links(root: Path, shown: Sequence[Bind]) -> None:
    """Raise CannotRun where an executor before has put a link in the place of what is shown: an engine would follow it.

    Nothing of the task runs now, so what is true stays true.
    """
    real = os.path.realpath(root)
    for bind in shown:
        if os.path.realpath(bind.source) != real + bind.target:
            raise CannotRun(f"{bind.target}: an executor has put a link in its place, or above it.")


def _shared(plan: Plan, path: str) -> bool:
    return any(path == entry.path or path.startswith(entry.path + "/") for entry in plan.shared)


def _make(inside: Inside, path: str) -> None:
    """Make a folder, open to whoever an executor is: what is made is owned by the server."""
    try:
        inside.make_folders(path, _FOLDER)
        found = inside.stat(path)
        if found is not None and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & _FOLDER != _FOLDER:
            inside.chmod(path, _FOLDER)
    except OSError as error:
        raise CannotRun(f"{path} cannot be made: {error.filename}: {error.strerror}.") from error


def _open(name: str, path: str, inside: Inside, flags: int) -> int:
    try:
        return inside.open(path, flags, _FILE)
    except OSError as error:
        raise CannotRun(f"{name} {path} cannot be opened: {error.strerror}.") from error


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
