"""The real shim, built once from shim/ where there is Go."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_SOURCE = Path(__file__).resolve().parent.parent.parent / "shim"


@functools.cache
def shim() -> Path:
    """Return the program; skip where it cannot be built. Any user may run it."""
    go = shutil.which("go", path=os.environ["PATH"] + ":/usr/local/go/bin")
    if go is None:
        pytest.skip("the shim is built by Go, which is not here")
    folder = Path(tempfile.mkdtemp(prefix="shim-", dir="/var/tmp"))
    folder.chmod(0o755)
    built = folder / "tesk-shim"
    command = [go, "build", "-trimpath", "-o", str(built), "."]
    subprocess.run(command, cwd=_SOURCE, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return built
