"""The world of a real WebDAV server: Apache from the distribution, over a folder of its own."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.worlds import World, planting, reading
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience

_MODULES = "/usr/lib/apache2/modules"


@contextlib.contextmanager
def over_apache(_: Path) -> Iterator[World]:
    """The folder of a test is root's alone, and Apache will not be root: it gets another one."""
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("Apache is not installed: scripts/install-test-needs")
    with tempfile.TemporaryDirectory(prefix="tesk-apache-") as name, socket.socket() as probe:
        folder, served = Path(name), Path(name) / "served"
        (served / "top").mkdir(parents=True)
        (folder / "locks").mkdir()
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        lines = [
            *(
                f"LoadModule {one}_module {_MODULES}/mod_{one}.so"
                for one in ("mpm_event", "authz_core", "dav", "dav_fs")
            ),
            f"ServerRoot {folder}",
            "ServerName localhost",
            f"PidFile {folder}/pid",
            f"ErrorLog {folder}/errors",
            f"DavLockDB {folder}/locks/db",
            f"Listen 127.0.0.1:{port}",
            f"DocumentRoot {served}",
            f"<Directory {served}>",
            "Dav On",
            "Require all granted",
            "</Directory>",
        ]
        if os.getuid() == 0:
            user = pwd.getpwnam("www-data")
            lines += [f"User #{user.pw_uid}", f"Group #{user.pw_gid}"]
            folder.chmod(0o755)
            for made in (folder / "locks", served, served / "top"):
                os.chown(made, user.pw_uid, user.pw_gid)
        (folder / "httpd.conf").write_text("\n".join(lines) + "\n")
        probe.close()
        # It answers, by its child, when the program that was started has ended.
        subprocess.run([program, "-f", str(folder / "httpd.conf")], check=True, capture_output=True)
        scheme = HttpScheme(private=True, patience=Patience(1), timeout_seconds=20)

        def plant(name: str, data: bytes) -> None:
            planting(served / "top")(name, data)
            subprocess.run(["chown", "-R", "--reference", str(served), str(served)], check=True)

        try:
            yield World(scheme, f"http://127.0.0.1:{port}/top", plant, reading(served / "top"))
        finally:
            scheme.close()
            subprocess.run([program, "-f", str(folder / "httpd.conf"), "-k", "stop"], check=True, capture_output=True)
            _ended(folder / "pid")


def _ended(pid: Path) -> None:
    """Wait until its file is gone: that is the last that it does."""
    watch = subprocess.run(
        ["timeout", "20", "sh", "-c", 'while [ -e "$0" ]; do sleep 0.02; done', str(pid)], check=False
    )
    assert watch.returncode == 0
