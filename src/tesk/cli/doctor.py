"""`tesk doctor`: try what a server on this machine needs, for real; a line for each, with the one command that helps."""

import argparse
import asyncio
import importlib
import os
import platform
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tesk.cli.database import location
from tesk.cli.finding import FAIL, OK, WARN, Finding, with_help
from tesk.cli.loaded import add_settings_arguments, settings_in_force
from tesk.cli.output import moving
from tesk.cli.session import Session, add_server_argument
from tesk.compute.backend import AttemptId, Backend, Phase
from tesk.compute.containers.backend import ContainersBackend
from tesk.compute.containers.folder import FOLDER
from tesk.compute.local.backend import LocalBackend
from tesk.compute.local.cgroup import find_cgroups
from tesk.compute.local.network import SAYS
from tesk.compute.plan import make_plan
from tesk.errors import BackendError, SettingsError, StartError, TeskError, Unreachable
from tesk.settings import Settings
from tesk.stager.host import HostStager
from tesk.store.connect import store_at
from tesk.tes.task import Executor, Extension, Task

SANDBOX, ENGINE = "sandbox", "engine"

DELEGATED = "systemd-run --user --scope -p Delegate=yes tesk serve"
"""Starts a server whose control groups are its own."""
LITTLE_DISK_BYTES = 10_000_000_000
LITTLE_DATABASE_BYTES = 500_000_000
TRIAL_SECONDS = 300.0
"""An image may have to come first."""

# Where SQLite's log, or its locks, are not to be trusted.
_FAR = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "afs"})

_COLORS = {OK: "32", WARN: "33", FAIL: "31"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the flags of the server: what is looked at is what they would start."""
    add_settings_arguments(parser)
    parser.add_argument(
        "--kubernetes",
        dest="backend",
        action="store_const",
        const="kubernetes",
        help="look at the cluster, as with --backend kubernetes",
    )
    parser.add_argument(
        "--try", dest="trial", action="store_true", help="run one pod in the cluster, too, and remove it"
    )
    add_server_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 where something would keep the server or its tasks from running."""
    failed = False
    colored = moving(sys.stdout)
    for finding in findings(args):
        failed |= finding.level == FAIL
        level = f"{finding.level:4}"
        print(
            f"\x1b[{_COLORS[finding.level]}m{level}\x1b[0m" if colored else level, f"{finding.subject}: {finding.says}"
        )
        if finding.help:
            print(f"       try: {finding.help}")
        sys.stdout.flush()
    return 1 if failed else 0


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """Yield what is found, as it is found."""
    yield Finding(OK, "python", f"{platform.python_version()} on {platform.system()} {platform.release()}")
    try:
        loaded = settings_in_force(args)
    except SettingsError as error:
        yield Finding(FAIL, "settings", str(error), "tesk config")
        return
    settings = loaded.settings
    files = ", ".join(map(str, loaded.files))
    yield Finding(OK, "settings", f"from {files}" if files else "all that is not given has its default")
    if settings.server.insecure:
        yield Finding(
            WARN,
            "settings",
            "server.insecure lets in everybody who can connect",
            "tesk hash-secret, whose output goes into auth.tokens or auth.users",
        )
    match settings.backend:
        case "kubernetes":
            yield from _cluster(settings, trial=args.trial)
        case "containers":
            yield from engine(settings)
        case "local":
            yield from sandbox(settings)
            yield memory(settings)
    yield from database(settings)
    yield disk(settings)
    answers = server(args)
    yield port(settings, running=answers.level == OK)
    yield answers


def sandbox(settings: Settings) -> list[Finding]:
    """Open the backend as a server would, and run `true` as a task, in a folder beside those of real tasks."""
    with _folder(settings) as folder, closing(HostStager(settings.storage)) as stager:
        backend = LocalBackend(settings.local, folder / "attempts", stager)
        try:
            ran = asyncio.run(_try(backend, SANDBOX, "none"))
        except (StartError, BackendError, OSError) as error:
            return [with_help(FAIL, SANDBOX, str(error))]
    network = backend.says[0]
    wanted = settings.local.network == "off" or network == SAYS["nat"]
    # Where there is no network against one's will, saying that none is wanted is all that is left (`host` is no advice).
    help_ = f"tesk serve --network {'auto' if settings.local.network == 'host' else 'off'}"
    return [ran, Finding(OK, "network", network) if wanted else with_help(WARN, "network", network, help_)]


def engine(settings: Settings) -> Iterator[Finding]:
    """Find the container engine as a server would, and run `true` in the usual image."""
    with _folder(settings) as folder, closing(HostStager(settings.storage)) as stager:
        backend = ContainersBackend(settings.containers, folder / "attempts", stager)
        try:
            ran, orphans = asyncio.run(_try_engine(backend, settings.defaults.image))
        except (StartError, BackendError, OSError) as error:
            yield with_help(FAIL, ENGINE, str(error))
            return
    kind, *others = backend.says
    yield Finding(OK, ENGINE, kind)
    for each in others:
        apart = "network" in each
        yield Finding(WARN, ENGINE, each, "tesk serve --backend containers --network auto" if apart else DELEGATED)
    if ran.level == FAIL and not ran.help and "cannot be had" in ran.says:
        # A machine without a registry can still say whether containers start.
        ran = Finding(
            ran.level,
            ran.subject,
            ran.says,
            f"TESK_DEFAULTS_IMAGE=IMAGE tesk doctor, an image of `{kind.split()[0]} images`",
        )
    yield ran
    program = kind.split()[0]
    for lost, names in orphans.items():
        label = shlex.quote(f"label={FOLDER}={lost}")
        yield Finding(
            WARN,
            ENGINE,
            f"{len(names)} container{'s' * (len(names) > 1)} left by a server whose folder {lost} is not there",
            f"{program} ps --all --quiet --filter {label} | xargs {program} rm --force",
        )


def _cluster(settings: Settings, *, trial: bool) -> Iterator[Finding]:
    try:
        # It needs a package that is not everybody's.
        cluster = importlib.import_module("tesk.cli.cluster")
    except StartError as error:
        yield with_help(FAIL, "cluster", str(error), "pip install 'tesk[kubernetes]'")
        return
    yield from cluster.findings(settings, trial=trial)


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    """A folder beside those of real tasks."""
    folder = Path(tempfile.mkdtemp(prefix=".tesk-doctor-", dir=_existing(Path(settings.data_dir).expanduser())))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _try(backend: Backend, subject: str, image: str) -> Finding:
    await backend.open()
    try:
        return await _run_true(backend, subject, image)
    finally:
        await backend.close()


async def _try_engine(backend: ContainersBackend, image: str) -> tuple[Finding, dict[str, list[str]]]:
    await backend.open()
    try:
        return await _run_true(backend, ENGINE, image), await backend.orphans()
    finally:
        await backend.close()


async def _run_true(backend: Backend, subject: str, image: str) -> Finding:
    attempt = AttemptId("doctor", 1)
    plan = make_plan(
        Task(executors=(Executor(image=image, command=("true",)),)),
        task_id=attempt.task_id,
        owner="doctor",
        extension=Extension(),
        cpu_cores=1,
        ram_bytes=100_000_000,
        disk_bytes=0,
        tail_bytes=1024,
    )
    began = time.monotonic()
    await backend.start(attempt, plan)
    seen = await backend.observe(attempt)
    async with asyncio.timeout(TRIAL_SECONDS):
        async for changed in backend.changes():
            seen = await backend.observe(changed)
            if seen.phase.ended:
                break
    took = time.monotonic() - began
    await backend.forget(attempt)
    if seen.phase is Phase.DONE:
        return Finding(OK, subject, f"a task of one command took {took * 1000:.0f} ms")
    printed = "".join(log.stderr or "" for log in seen.executor_logs).strip()
    return with_help(FAIL, subject, seen.reason or printed or f"a task of one command ended {seen.phase}")


def memory(settings: Settings) -> Finding:
    """Say how memory is limited."""
    cgroups = find_cgroups(settings.local, f"doctor-{os.getpid()}")
    try:
        if cgroups.holds_memory:
            return Finding(OK, "memory", cgroups.says)
        return Finding(WARN, "memory", cgroups.says, DELEGATED)
    finally:
        cgroups.close()


def database(settings: Settings) -> Iterator[Finding]:
    """Open the database, where there is one."""
    where = location(settings)
    if "://" not in where:
        if (kind := _file_system(Path(where))) in _FAR:
            yield Finding(
                WARN,
                "database",
                f"{where} is on {kind}: SQLite wants a local disk",
                "tesk serve --data-dir /var/tmp/tesk",
            )
        if not Path(where).exists():
            parent = _existing(Path(where))
            if os.access(parent, os.W_OK):
                yield Finding(OK, "database", f"{where} will be made at the first start")
            else:
                yield Finding(FAIL, "database", f"{parent} cannot be written to", "tesk serve --data-dir FOLDER")
            return

    async def opened() -> None:
        store = store_at(where, exclusive=False)
        await store.open()
        try:
            await store.ping()
        finally:
            await store.close()

    try:
        asyncio.run(opened())
    except TeskError as error:
        yield with_help(FAIL, "database", str(error))
    else:
        yield Finding(OK, "database", "it answers")


def disk(settings: Settings) -> Finding:
    """Say how much is free where tasks run."""
    folder = _existing(Path(settings.data_dir).expanduser())
    free = shutil.disk_usage(folder).free
    says = f"{free / 1e9:.1f} GB free in {folder}"
    if settings.backend == "kubernetes":
        if free < LITTLE_DATABASE_BYTES:
            return Finding(WARN, "disk", f"{says}: the database needs room", "tesk serve --data-dir FOLDER")
    elif free < LITTLE_DISK_BYTES:
        return Finding(WARN, "disk", f"{says}: tasks that ask for more will not start", "tesk serve --data-dir FOLDER")
    return Finding(OK, "disk", says)


def port(settings: Settings, *, running: bool) -> Finding:
    """Say whether the server could listen."""
    host, number = settings.server.host, settings.server.port
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
    except OSError as error:
        if running:
            return Finding(OK, "port", f"{number} on {host} is taken, by the server that answers")
        return Finding(
            FAIL, "port", f"{number} on {host} cannot be listened on: {error.strerror}", "tesk serve --port 0"
        )
    return Finding(OK, "port", f"{number} on {host} is free")


def server(args: argparse.Namespace) -> Finding:
    """Ask the server that the other commands would ask."""
    session = Session(args)
    try:
        session.ask(session.calls.service_info())
    except Unreachable as error:
        return Finding(WARN, "server", str(error).partition(";")[0], "tesk serve")
    except TeskError as error:
        return Finding(FAIL, "server", str(error))
    return Finding(OK, "server", f"{session.origin} answers")


def _existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def _file_system(path: Path) -> str:
    """Return the kind of file system that a path is on."""
    real = os.path.realpath(_existing(path))
    kinds = {}
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, place, kind, *_ = line.split(" ")
            kinds[place] = kind
    covering = [place for place in kinds if real == place or real.startswith(place.rstrip("/") + "/")]
    return kinds[max(covering, key=len)] if covering else ""
