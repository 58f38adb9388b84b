"""How many files of a task move at once."""

import threading
from pathlib import Path

import pytest

from fakes.web import Files, serve
from tesk.settings import StorageSettings
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.tes.task import FileType
from tesk.transfer import Fetch, TransferList


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_files_as_the_settings_say_move_at_once_and_no_more(tmp_path: Path, parallel: int) -> None:
    meeting, lock = threading.Barrier(parallel), threading.Lock()
    under_way = most = 0

    class Together(Files):
        """Answers when as many as may come at once are there."""

        def do_GET(self) -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            meeting.wait(20)
            with lock:
                under_way -= 1
            super().do_GET()

    names = [f"/{number}" for number in range(4 * parallel)]
    with serve(Together, dict.fromkeys(names, b"data")) as web:
        inputs = (
            Fetch(index=n, path=f"/in{name}", url=web.url + name, type=FileType.FILE) for n, name in enumerate(names)
        )
        job = Job(
            direction="inputs",
            transfers=TransferList(caller="me", inputs=tuple(inputs)),
            root=str(tmp_path),
            owner=None,
            settings=StorageSettings(file_roots=(), private_addresses=True, parallel=parallel),
        )
        done = run(job, Stop())
    assert done is not None
    assert done.error is None
    assert len(done.files) == len(names)
    assert most == parallel
