"""The narrow seam to podman and docker: their command lines, a few verbs, nothing kept. All else here is above it."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tesk.compute.containers.arguments import Facts
from tesk.compute.containers.inspected import Config, DockerInfo, InspectedContainer, InspectedImage, PodmanInfo
from tesk.compute.machine.spawn import spawn
from tesk.errors import BackendUnavailable, StartError

_CALL_SECONDS = 60.0
_REMOVE_SECONDS = 600.0
_DRAIN_SECONDS = 1.0
_PODMAN = 4
_WAITS_SECONDS = (0.1, 0.3, 1.0, 0.0)
_SEARCHED = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

# What engines and their helpers read of our environment; the rest of it is the server's own.
_PASSED = ("CONTAINERS_", "DBUS_", "DOCKER_", "LC_", "REGISTRY_", "SSL_CERT_", "STORAGE_", "XDG_")
_PASSED_NAMES = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "USER"}
    | {name for proxy in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") for name in (proxy, proxy.upper())}
)


class Said(Struct, frozen=True):
    """How one call of an engine ended: its code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The engine's own words about what went wrong, in one line."""
        return words(self.err)


class Image(Struct, frozen=True):
    """An image that this machine has. `digest` is what its registry knows it by; of one made here, its own."""

    id: str
    digest: str
    workdir: str = "/"
    user: str = ""


class Status(Struct, frozen=True):
    """One container, now. `monitor` is the process that holds it (0: none, or none that we can see). Times as everywhere."""

    state: str
    exit_code: int
    out_of_memory: bool
    began: bool
    monitor: int
    layer: str | None
    start_time: float
    end_time: float

    @property
    def ended(self) -> bool:
        """Say whether its program has run and is over."""
        return self.began and self.state in {"exited", "stopped", "dead"}


def words(text: str) -> str:
    """Return the last complaint that an engine wrote, without its `Error:` in front."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaint = next((line for line in reversed(lines) if line.startswith(("Error", "docker: "))), None)
    last = complaint or (lines[-1] if lines else "it said nothing")
    return last.removeprefix("docker: ").removeprefix("Error response from daemon: ").removeprefix("Error: ")


class Engine:
    """podman or docker at work on this machine. Every verb is one call of the program `path`."""

    def __init__(self, path: str, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self._environment = passed_environment()

    async def image(self, name: str) -> Image | None:
        """Return what an image is, None where this machine has none of that name."""
        said = await self._call("image", "inspect", "--", name)
        if said.code != 0:
            return None
        found = msgspec.json.decode(said.out, type=tuple[InspectedImage, ...])[0]
        by_registry = next((each.rpartition("@")[2] for each in found.repo_digests), "")
        config = found.config or Config()
        return Image(found.id, found.digest or by_registry or found.id, config.workdir or "/", config.user)

    async def pull(self, name: str) -> Said:
        """Fetch an image from its registry. As long as it takes; canceled, it ends."""
        return await self._call("pull", "--quiet", "--", name, seconds=None)

    def run(self, arguments: Sequence[str], streams: tuple[int, int, int], folder: str) -> int:
        """Start a container by the words of `run_arguments`; return the process that ends with it. Raises OSError, ValueError.

        Some monitors of containers leave a file called `oom` where they were started: in `folder`.
        """
        command = [self.facts.kind, *arguments]
        return spawn(self.path, command, self._environment, streams=streams, passed=(), folder=folder)

    async def status(self, name: str) -> Status | None:
        """Look at a container, None where there is none."""
        for wait_seconds in _WAITS_SECONDS:
            said = await self._call("container", "inspect", "--", name)
            if said.code == 0 or "no such" in said.err.lower():
                break
            # It may be about to be made, or to go.
            await asyncio.sleep(wait_seconds)
        else:
            raise BackendUnavailable(f"{self.facts.kind} does not say how {name} is: {said.words}")
        if said.code != 0:
            return None
        found = msgspec.json.decode(said.out, type=tuple[InspectedContainer, ...])[0]
        state = found.state
        return Status(
            state=state.status,
            exit_code=state.exit_code,
            out_of_memory=state.out_of_memory,
            began=state.started.year > 1,
            monitor=state.monitor,
            layer=(found.driver.data or {}).get("UpperDir"),
            start_time=_seconds(state.started),
            end_time=_seconds(state.finished),
        )

    async def signal(self, name: str, word: str) -> bool:
        """Send a signal to the first process of a container; say whether there was one that runs."""
        return (await self._call("kill", "--signal", word, "--", name)).code == 0

    async def wait(self, name: str) -> None:
        """Return when a container has ended, or is not there."""
        await self._call("wait", "--", name, seconds=None)

    async def remove(self, names: Sequence[str]) -> None:
        """Kill containers if they run, and remove what they wrote in their own roots. Raises BackendUnavailable."""
        if names:
            at_once = ("--time", "0") if self.facts.kind == "podman" else ()
            said = await self._call("rm", "--force", *at_once, "--volumes", "--", *names, seconds=_REMOVE_SECONDS)
            if said.code != 0 and "no such" not in said.err.lower():
                raise BackendUnavailable(f"{self.facts.kind} does not remove {', '.join(names)}: {said.words}")

    async def labeled(self, *labels: str) -> dict[str, dict[str, str]]:
        """Return all containers with these labels (`name=value`), running or not: their own labels by their names."""
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        said = await self._call("ps", "--all", "--no-trunc", *filters, "--format", "{{.Names}}")
        names = said.out.split()
        if said.code != 0:
            raise BackendUnavailable(f"{self.facts.kind} does not tell of its containers: {said.words}")
        if not names:
            return {}
        # Of those that go meanwhile nothing is told.
        said = await self._call("container", "inspect", "--", *names)
        found = msgspec.json.decode(said.out or "[]", type=tuple[InspectedContainer, ...])
        return {each.name.lstrip("/"): each.config.labels or {} for each in found}

    async def holds_folder(self, image: str, path: str, name: str, label: str) -> bool:
        """Say whether an image has a folder at `path`, by a container `name` that is never run."""
        await self.remove([name])  # of a server that died here
        made = await self._call(
            "create",
            "--name",
            name,
            "--label",
            label,
            "--pull",
            "never",
            "--network",
            "none",
            "--entrypoint",
            "",
            image,
            "-",
        )
        if made.code != 0:
            raise BackendUnavailable(f"{self.facts.kind} does not show what {image} holds: {made.words}")
        try:
            async with self._process("cp", f"{name}:{path}", "-", out=asyncio.subprocess.PIPE) as process:
                assert process.stdout is not None
                # A tar archive: the first header says what it is, and the rest of it is none of our business.
                header = await process.stdout.read(512)
                return header[156:157] == b"5"
        finally:
            await self.remove([name])

    async def reclaim(self, folder: str) -> None:
        """Make all that lies in a folder the server's own: users of a rootless container have ids that only podman may touch."""
        if self.facts.kind == "podman" and self.facts.rootless:
            await self._call("unshare", "chown", "-hR", "0:0", folder, seconds=None)
            await self._call("unshare", "chmod", "-R", "u+rwX", folder, seconds=None)

    async def _call(self, *arguments: str, seconds: float | None = _CALL_SECONDS) -> Said:
        try:
            async with (
                asyncio.timeout(seconds),
                self._process(*arguments, out=asyncio.subprocess.PIPE, err=asyncio.subprocess.PIPE) as process,
            ):
                out, err = await process.communicate()
                return Said(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
        except TimeoutError as error:
            raise BackendUnavailable(f"{self.facts.kind} {arguments[0]} takes too long.") from error
        except OSError as error:
            raise BackendUnavailable(f"{self.path} cannot be run: {error}.") from error

    @contextlib.asynccontextmanager
    async def _process(
        self, *arguments: str, out: int, err: int = asyncio.subprocess.DEVNULL
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the engine; it is gone when the block is left."""
        quiet = ("--log-level", "error") if self.facts.kind == "podman" else ()
        process = await asyncio.create_subprocess_exec(
            self.path,
            *quiet,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=self._environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the server
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                # A rootless podman is two processes, and the second one would hold on to what we read.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        for stream in filter(None, (process.stdout, process.stderr)):
                            await stream.read()


def passed_environment() -> dict[str, str]:
    """Return what an engine is given of our environment; it finds its helpers, whatever our PATH is."""
    given = {name: value for name, value in os.environ.items() if name in _PASSED_NAMES or name.startswith(_PASSED)}
    return given | {"PATH": f"{given['PATH']}:{_SEARCHED}" if given.get("PATH") else _SEARCHED}


async def find_engine(asked: str) -> Engine:
    """Return the engine that is asked for by its kind or path; `auto` takes the first that answers. Raises StartError."""
    wanted = ("podman", "docker") if asked == "auto" else (asked,)
    wrong: list[str] = []
    for name in wanted:
        path = name if "/" in name else shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SEARCHED}")
        if path is None:
            wrong.append(f"{name} is not installed")
            continue
        try:
            return Engine(path, await _facts(path))
        except StartError as error:
            wrong.append(str(error))
    raise StartError(f"There is no container engine ({'; '.join(wrong)}); try: apt install podman")


async def _facts(path: str) -> Facts:
    blank = Facts(kind="", version="", rootless=False, controllers=frozenset(), cores=0, init=False)
    engine = Engine(path, blank)
    try:
        # podman may stand behind the name of docker.
        named = await engine._call("--version")  # noqa: SLF001  a call before we know what it is
        kind = "podman" if "podman" in named.out.lower() else "docker"
        said = await engine._call("info", "--format", "json" if kind == "podman" else "{{json .}}")  # noqa: SLF001
    except BackendUnavailable as error:
        raise StartError(str(error)) from error
    if said.code != 0:
        raise StartError(f"{kind} does not work here: {said.words}")
    try:
        return _podman(said.out) if kind == "podman" else _docker(said.out)
    except msgspec.DecodeError as error:
        raise StartError(f"{path} does not say what it is: {said.words}") from error


def _podman(out: str) -> Facts:
    info = msgspec.json.decode(out, type=PodmanInfo)
    if int(info.version.version.partition(".")[0] or 0) < _PODMAN:
        raise StartError(f"podman {info.version.version} is too old; {_PODMAN}.0 or newer is needed")
    graph = Path(info.store.graph)
    return Facts(
        kind="podman",
        version=info.version.version,
        rootless=info.host.security.rootless,
        controllers=frozenset(info.host.controllers or ()),
        cores=info.host.cpus,
        init=any(os.access(place, os.X_OK) for place in _INITS),
        rootless_network=info.host.rootless_network or "slirp4netns",
        images_file=str(graph / f"{info.store.driver}-images/images.json"),
    )


def _docker(out: str) -> Facts:
    info = msgspec.json.decode(out, type=DockerInfo)
    if info.errors:
        raise StartError(f"docker does not work here: {info.errors[0]}")
    if "name=rootless" in (info.security or ()):
        raise StartError("rootless docker is not supported, rootless podman is")
    held = {"memory": info.memory, "cpu": info.cpu, "pids": info.pids}
    return Facts(
        kind="docker",
        version=info.version,
        rootless=False,
        controllers=frozenset(name for name, there in held.items() if there),
        cores=info.cpus,
        init=info.init.id != "N/A",
    )


_INITS = (
    "/usr/libexec/podman/catatonit",
    "/usr/bin/catatonit",
    "/usr/local/libexec/podman/catatonit",
    "/usr/local/bin/catatonit",
)


def _seconds(when: datetime) -> float:
    return when.timestamp() if when.year > 1 else 0.0
