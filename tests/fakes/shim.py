"""The real shim, built once from shim/ where there is Go."""

import atexit
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent.parent
GO_PATH = os.environ["PATH"] + ":/usr/local/go/bin"
MADE = "SHIM_OF_TESTS"
"""The variable that names a shim which is there, for those who could build none."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def go() -> str:
    """Return the path of Go; skip where it is not."""
    found = shutil.which("go", path=GO_PATH)
    if found is None:
        pytest.skip("the shim is built by Go, which is not here: scripts/install-test-needs")
    return found


@functools.cache
def shim() -> Path:
    """Return the program, as `make shim` builds it; skip where it cannot be built. Any user may run it."""
    if MADE in os.environ:
        return Path(os.environ[MADE])
    go()
    architecture = _ARCHITECTURES[platform.machine()]
    subprocess.run([HOUSE / "scripts/make-shim", architecture], env={**os.environ, "PATH": GO_PATH}, check=True)
    folder = Path(tempfile.mkdtemp(prefix="shim-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    return Path(shutil.copy(HOUSE / f"build/shim/tesk-shim-{architecture}", folder / "tesk-shim"))
