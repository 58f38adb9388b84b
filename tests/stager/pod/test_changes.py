"""Waiting for files, with inotify and without."""

import threading
from pathlib import Path

from fakes.served import until
from tesk.stager.pod.changes import wait_until


def test_it_is_woken_by_a_file_that_gets_its_name(tmp_path: Path) -> None:
    looks: list[bool] = []

    def there() -> bool:
        looks.append((tmp_path / "here").exists())
        return looks[-1]

    waiting = threading.Thread(target=wait_until, args=(there, [tmp_path]), daemon=True)
    waiting.start()
    until(lambda: bool(looks))
    (tmp_path / ".here").write_text("")
    (tmp_path / ".here").rename(tmp_path / "here")
    waiting.join(2)
    assert not waiting.is_alive()
    assert len(looks) <= 4


def test_where_the_kernel_gives_no_watch_it_looks_now_and_then(tmp_path: Path) -> None:
    """A folder that is not there cannot be watched, as none can be where no instance is left."""
    looks: list[bool] = []

    def there() -> bool:
        looks.append((tmp_path / "here").exists())
        return looks[-1]

    waiting = threading.Thread(target=wait_until, args=(there, [tmp_path / "none", tmp_path]), daemon=True)
    waiting.start()
    until(lambda: len(looks) >= 2)
    (tmp_path / "here").write_text("")
    waiting.join(2)
    assert not waiting.is_alive()
