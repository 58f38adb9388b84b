"""Make one executor ready to start: its folders, its streams, its command line. In the keeper's thread, so as its user."""

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, normpath

from tesk.compute.local.cgroup import Cgroup, Cgroups
from tesk.compute.local.folder import Folder, Folders, Owner, step_folders
from tesk.compute.local.keeper import Keeper
from tesk.compute.local.network import ARGUMENTS, GATE, STATUS, Mode, setpriv, through_pasta
from tesk.compute.local.run import Launch
from tesk.compute.local.sandbox import (
    HostArguments,
    HostPath,
    Places,
    environment,
    environment_arguments,
    sandbox_arguments,
)
from tesk.compute.local.user import User
from tesk.compute.machine.processes import Process
from tesk.compute.machine.routes import refused_routes
from tesk.compute.machine.streams import File, Pipe
from tesk.compute.plan import Plan, Shared, Step
from tesk.errors import CannotRun
from tesk.inside import Inside
from tesk.settings import LocalSettings
from tesk.transfer import Stager


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine gives to every attempt."""

    settings: LocalSettings
    keeper: Keeper
    hand: Keeper
    """The thread that makes and removes folders and control groups, as the server's own user; nothing long."""
    folders: Folders
    cgroups: Cgroups
    stager: Stager
    user: User | None
    owner: Owner
    bwrap: str
    host: HostArguments
    seen: Sequence[HostPath]
    network: Mode
    descriptors: tuple[int, int]
    notes: tuple[str, ...]


class Launcher:
    """Starts the executors of one attempt. `root`: the host folder that stands for the task's `/`."""

    def __init__(self, machine: Machine, plan: Plan, folder: Folder, cgroup: Cgroup | None) -> None:
        self._machine = machine
        self._plan = plan
        self._folder = folder
        self._cgroup = cgroup
        self._made = False
        self.root = root_of(machine, folder)

    def launch(self, step: Step) -> Launch:
        """Make what the executor needs. Raises Lost where another server has the attempt, CannotRun with the path that is in the way."""
        self._folder.check()
        machine = self._machine
        own, tmp, home = folders = step_folders(self._folder.own, step.index)
        places = Places(root=str(self.root), tmp=tmp, home=home)
        if step.index > 0:  # the first one's came with the attempt's
            for folder in folders:
                os.mkdir(folder, 0o700)
        with Inside(self.root) as inside:
            if not self._made:
                self._make_folders(inside)
                self._made = True
            self._make_workdir(step, inside)
            stdin, stdout, stderr = self._open_streams(step, inside)
        if machine.settings.sandbox == "none":
            return self._without_sandbox(step, places, stdin, stdout, stderr)
        nat = machine.network == "nat"
        # Anybody on the machine may read a command line, so what may be secret goes another way.
        secret = environment_arguments(step)
        if nat:
            Path(own, "arguments").write_bytes(secret)
            for name, routes in zip(("routes", "routes6"), refused_routes(), strict=True):
                Path(own, name).write_text(routes)
        passed = () if nat or not secret else (_memory(secret),)

        def arguments(gate: int, status: int) -> list[str]:
            inner = sandbox_arguments(
                step,
                self._plan,
                places,
                host=machine.host,
                network_off=machine.network == "off",
                owner=machine.user.owner if machine.user else (os.getuid(), os.getgid()),
                gate=GATE if nat else gate,
                status=STATUS if nat else status,
                more=ARGUMENTS if nat else passed[0] if passed else None,
            )
            return through_pasta([machine.bwrap, *inner[1:]], own) if nat else inner

        return Launch(
            program=setpriv() if nat else machine.bwrap,
            arguments=arguments,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            passed=passed,
            limits=(
                (resource.RLIMIT_NOFILE, machine.descriptors),
                # Counted by user in each user namespace, so in each sandbox, since Linux 5.14.
                (resource.RLIMIT_NPROC, (machine.settings.processes_limit,) * 2),
            ),
            begun=self._begun,
            own=own if nat else None,
        )

    def _without_sandbox(
        self, step: Step, places: Places, stdin: int, stdout: Pipe | File, stderr: Pipe | File
    ) -> Launch:
        variables = environment(self._machine.settings.path, home=places.home, temporary=places.tmp)
        return Launch(
            program=setpriv(),
            arguments=lambda _gate, _status: ["setpriv", "--pdeathsig", "KILL", "--", *step.command],
            environment=variables | step.env,
            workdir=step.workdir or places.home,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            limits=((resource.RLIMIT_NOFILE, self._machine.descriptors),),
            begun=self._begun,
        )

    def _begun(self, outer: Process, first: Process) -> None:
        self._folder.add(outer, first)
        if self._cgroup is not None:
            self._cgroup.add(first.pid)

    def _make_folders(self, inside: Inside) -> None:
        """Make the shared paths that no input brought, and the folders in which programs will write."""
        for entry in self._plan.shared:
            match entry.kind:
                case Shared.FOLDER | Shared.WORKDIR:
                    _make(inside, entry.path)
                case Shared.OUTPUT_FILE | Shared.INPUT_FILE:
                    if inside.stat(entry.path) is None:
                        _make(inside, dirname(entry.path))
                        os.close(_open("path", entry.path, inside, os.O_RDWR | os.O_CREAT))
        for folder in self._plan.folders:
            _make(inside, folder)

    def _make_workdir(self, step: Step, inside: Inside) -> None:
        """An earlier executor may have removed it."""
        if step.workdir is not None:
            workdir = normpath(step.workdir)
            if any(workdir == entry.path or workdir.startswith(entry.path + "/") for entry in self._plan.shared):
                _make(inside, workdir)

    def _open_streams(self, step: Step, inside: Inside) -> tuple[int, Pipe | File, Pipe | File]:
        keep = self._plan.tail_bytes
        if step.stdin is None:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        else:
            stdin = _open("stdin", step.stdin, inside, os.O_RDONLY)
        written: list[Pipe | File] = []
        try:
            for name, path in (("stdout", step.stdout), ("stderr", step.stderr)):
                if name == "stderr" and path is not None and path == step.stdout:
                    written.append(written[0])
                elif path is None:
                    written.append(Pipe(keep))
                else:
                    _make(inside, dirname(normpath(path)))
                    # Both streams may go to one file: each write goes to its end, then.
                    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_APPEND if step.stderr == step.stdout else 0)
                    written.append(File(_open(name, path, inside, flags), keep))
        except (CannotRun, OSError):
            os.close(stdin)
            for stream in written:
                stream.close()
            raise
        return stdin, written[0], written[1]


def root_of(machine: Machine, folder: Folder) -> Path:
    """The host folder that stands for a task's `/`. Without a sandbox there is only one `/`."""
    return Path("/" if machine.settings.sandbox == "none" else folder.root)


def check_unsafe(plan: Plan, settings: LocalSettings) -> None:
    """Without a sandbox: raise CannotRun for a path outside of `local.unsafe_folders`."""
    streams = (path for step in plan.steps for path in (step.stdin, step.stdout, step.stderr, step.workdir))
    for path in [*(entry.path for entry in plan.shared), *(path for path in streams if path)]:
        if not any(normpath(path).startswith(normpath(folder) + "/") for folder in settings.unsafe_folders):
            folders = ", ".join(settings.unsafe_folders) or "none"
            raise CannotRun(f"{path}: without a sandbox a task's paths must lie in local.unsafe_folders ({folders}).")


def _memory(data: bytes) -> int:
    """A file in memory, to be read from its beginning."""
    fd = os.memfd_create("arguments", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _make(inside: Inside, path: str) -> None:
    try:
        inside.make_folders(path, 0o755)
    except OSError as error:
        raise CannotRun(f"{path} cannot be made: {error.filename}: {error.strerror}.") from error


def _open(name: str, path: str, inside: Inside, flags: int) -> int:
    try:
        return inside.open(path, flags, 0o644)
    except OSError as error:
        raise CannotRun(f"{name} {path} cannot be opened: {error.strerror}.") from error
