"""A stager that is killed in the middle, again and again, and what must be true each time."""

import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import json

from fakes.web import Files, Web, serve
from tesk.settings import FileRoot, StorageSettings
from tesk.stager.job import Job
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport

FILES = 12
SIZE = 1_000_000
LATEST_SECONDS = 0.6
"""After so long the program is done, on a machine that has nothing else to do."""


class Interrupted:
    """One area with inputs by file: and http:, to be brought in or taken out by a program that may be killed."""

    def __init__(self, area: Path, web: Web, direction: str) -> None:
        self.root, self.source, self.out = (area / name for name in ("root", "source", "out"))
        for folder in (self.root, self.source, self.out):
            folder.mkdir()
        self.data = {f"f{number}": os.urandom(SIZE) for number in range(FILES)}
        web.files |= {f"/{name}": data for name, data in self.data.items()}
        here = self.source if direction == "inputs" else self.root / "o"
        here.mkdir(exist_ok=True)
        for name, data in self.data.items():
            (here / name).write_bytes(data)
        inputs = [Fetch(index=0, path="/in", url=str(self.source), type=FileType.DIRECTORY)]
        inputs += [Fetch(index=1, path=f"/web/{name}", url=f"{web.url}/{name}") for name in self.data]
        self._job = Job(
            direction="inputs" if direction == "inputs" else "outputs",
            transfers=TransferList(
                caller="me", inputs=tuple(inputs), outputs=(Deliver(index=0, path="/o", url=f"{self.out}/o"),)
            ),
            root=str(self.root),
            owner=None,
            settings=StorageSettings(
                file_roots=(FileRoot(path=str(self.source)), FileRoot(path=str(self.out), write=True)),
                private_addresses=True,
                file_reflink=False,
            ),
        )
        self.arrived = (self.root / "in", self.root / "web") if direction == "inputs" else (self.out / "o",)

    def run(self, kill_after_seconds: float | None) -> bytes:
        """Run the program, killed after a while or not; return what it said."""
        command = [sys.executable, "-P", "-m", "tesk.stager"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            return process.communicate(json.encode(self._job) + b"\n", timeout=kill_after_seconds)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]

    def check_nothing_is_half(self) -> None:
        """Whatever has its final name is whole."""
        for folder in self.arrived:
            for name, data in self.data.items():
                if (folder / name).exists():
                    assert (folder / name).read_bytes() == data, f"{folder / name} is half"

    def check_all_is_there(self, said: bytes) -> None:
        """After a run that nobody killed: all of it, and in the task's own folder nothing else.

        Where an output replaces a file it has another name for a moment; who is killed in it leaves that.
        """
        report = json.decode(said.splitlines()[-1], type=TransferReport)
        assert report.error is None
        for folder in self.arrived:
            there = {path.name: path.read_bytes() for path in folder.iterdir()}
            if folder.is_relative_to(self.out):
                there = {name: data for name, data in there.items() if not re.fullmatch(r"\.tesk-.*\.part", name)}
            assert there == self.data


@contextlib.contextmanager
def interrupted(area: Path, direction: str) -> Iterator[Interrupted]:
    with serve(Files) as web:
        yield Interrupted(area, web, direction)


def kill_at_random_moments(area: Path, direction: str, kills: int, seed: int) -> None:
    """The story: killed so often, each time nothing is half; then left alone, all is there."""
    chance = random.Random(seed)
    with interrupted(area, direction) as one:
        for _ in range(kills):
            one.run(chance.uniform(0.05, LATEST_SECONDS))
            one.check_nothing_is_half()
        one.check_all_is_there(one.run(None))
