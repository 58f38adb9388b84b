"""One pod as folders and processes of this machine: the real stager in `inputs` and `outputs`, the real shim in executors."""

import gzip
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import json

from fakes.shim import shim
from tesk.pod import EXECUTOR_KEY, AttemptReport, PodExecutor, PodJob, ShimJob
from tesk.pod_report import read_report
from tesk.settings import FileRoot, StorageSettings
from tesk.transfer import Deliver, Fetch, TransferList

UID = "0b5b4b6e-6f0a-4f8e-9d1c-4b8f0a5d3c11"
ATTEMPT = "01jt0000000000000000000000-1"
WAIT_SECONDS = 30.0
_TESTS = Path(__file__).resolve().parent.parent


class Pod:
    """Volumes of a pod in `area`, and the processes in it. Data comes from and goes to the folder around it, also its `out`.

    A program's command and streams may name `{root}`, which is the task's `/`, and `{job}` and its own `{control}`, which it sees in no real pod; and `words`.
    """

    def __init__(
        self,
        area: Path,
        *commands: str,
        inputs: Sequence[Fetch] = (),
        outputs: Sequence[Deliver] = (),
        ignore_errors: Sequence[int] = (),
        user: int | None = None,
        wrap: Sequence[str] = (),
        tail_bytes: int = 65536,
        streams: dict[str, str] | None = None,
        words: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.area, self.user, self.wrap = area, user, wrap
        self.work, self.control, self.job = (area / name for name in ("work", "control", "job"))
        self.root = self.work / "root"
        self.termination = area / "termination-log"
        for folder in (self.work, self.control, self.job, area.parent / "out"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)  # as the kubelet makes them
        self.termination.write_text("")
        self.job_told = PodJob(
            pod=UID,
            attempt=ATTEMPT,
            transfers=TransferList(caller="me", inputs=tuple(inputs), outputs=tuple(outputs)),
            settings=StorageSettings(
                file_roots=(FileRoot(path=str(area.parent), write=True),),
                private_addresses=True,
                tries=1,
                **more.pop("settings", {}),
            ),
            executors=tuple(
                PodExecutor(ignore_error=index in ignore_errors, tail_bytes=tail_bytes)
                for index in range(len(commands))
            ),
            **more,
        )
        (self.job / "stager").write_bytes(gzip.compress(json.encode(self.job_told)))
        for index, command in enumerate(commands):
            told_words = {"root": self.root, "job": self.job, "control": self.executor(index), **(words or {})}
            told = ShimJob(
                pod=UID,
                index=index,
                command=("/bin/sh", "-c", command.format(**told_words)),
                tail_bytes=tail_bytes,
                **{name: path.format(root=self.root) for name, path in (streams or {}).items()},
            )
            (self.job / EXECUTOR_KEY.format(index)).write_bytes(gzip.compress(json.encode(told)))
        self.processes: list[subprocess.Popen[bytes]] = []

    def executor(self, index: int) -> Path:
        return self.control / "executors" / str(index)

    def inputs(self, *, killed_at: int = 0) -> subprocess.Popen[bytes]:
        return self._stager("inputs", killed_at)

    def outputs(self, *, killed_at: int = 0) -> subprocess.Popen[bytes]:
        return self._stager("outputs", killed_at)

    def shim(self, index: int, *, user: int | None = None) -> subprocess.Popen[bytes]:
        folder = self.executor(index)
        folder.mkdir(parents=True, exist_ok=True)  # as the kubelet does for a subPath
        if os.geteuid() == 0:
            folder.chmod(0o777)
        job = str(self.job / EXECUTOR_KEY.format(index))
        return self._start([str(shim()), "run", "--control", str(folder), "--job", job], user)

    def run(self, *, users: Sequence[int | None] | None = None) -> AttemptReport:
        """Run all containers to the end of `outputs`; return its report."""
        self.inputs()
        for index in range(len(self.job_told.executors)):
            self.shim(index, user=users[index] if users else None)
        return self.report(self.outputs())

    def report(self, outputs: subprocess.Popen[bytes]) -> AttemptReport:
        said, words = outputs.communicate(timeout=WAIT_SECONDS)
        assert said, words.decode()
        report = read_report(said.splitlines()[-1])
        assert report is not None
        return report

    def summary(self) -> AttemptReport | None:
        return read_report(self.termination.read_bytes())

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.processes.clear()

    def _stager(self, container: str, killed_at: int) -> subprocess.Popen[bytes]:
        places = ("work", "control", "job", "termination")
        options = [part for name in places for part in (f"--{name}", str(getattr(self, name)))]
        module = ["fakes.killed_at", str(killed_at), str(self.area), "tesk.stager.pod"][0 if killed_at else 3 :]
        return self._start([*self.wrap, sys.executable, "-m", *module, container, *options], self.user)

    def _start(self, command: list[str], user: int | None) -> subprocess.Popen[bytes]:
        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=_TESTS
        )
        self.processes.append(process)
        return process


def waits_for_a_lock(pid: int) -> bool:
    """Say whether a process sleeps until the kernel gives it a lock."""
    return any("-> FLOCK" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())
