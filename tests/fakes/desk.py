"""A stager's desk: where inputs come from, the folder of a task, and where outputs go."""

from pathlib import Path

from tesk.settings import FileRoot, StorageSettings
from tesk.stager.job import Job, Most, run
from tesk.stager.parallel import Stop
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport

FILE, DIRECTORY = FileType.FILE, FileType.DIRECTORY


class Desk:
    """A source, a task's root and a place for outputs, side by side in one folder."""

    def __init__(self, area: Path) -> None:
        self.area = area
        self.source, self.root, self.out = area / "source", area / "root", area / "out"
        for folder in (self.source, self.root, self.out):
            folder.mkdir()
        self.settings = StorageSettings(
            file_roots=(FileRoot(path=str(self.source)), FileRoot(path=str(self.out), write=True)),
            private_addresses=True,
        )
        self.owner: tuple[int, int] | None = None

    def plant(self, path: Path, data: str = "data", mode: int = 0o644) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
        path.chmod(mode)
        return path

    def fetch(self, *inputs: Fetch, most: Most | None = None) -> TransferReport:
        job = Job(
            direction="inputs",
            transfers=TransferList(caller="me", inputs=inputs),
            root=str(self.root),
            owner=self.owner,
            settings=self.settings,
        )
        return self.run(job, most)

    def deliver(self, *outputs: Deliver, most: Most | None = None) -> TransferReport:
        job = Job(
            direction="outputs",
            transfers=TransferList(caller="me", outputs=outputs),
            root=str(self.root),
            owner=None,
            settings=self.settings,
        )
        return self.run(job, most)

    def run(self, job: Job, most: Most | None) -> TransferReport:
        done = run(job, Stop(), most)
        assert done is not None
        return done

    def url(self, path: Path) -> str:
        return f"file://{path}"


def tree(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}
