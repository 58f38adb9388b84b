"""Other people's programs, each in an environment of its own below build/peers/."""

import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent.parent
UNREACHABLE = 75


def peer_python(name: str) -> Path:
    """Return the Python that has the peer; skip the test where the package index cannot be reached to make it."""
    made = subprocess.run([HOUSE / "scripts/make-peer", name], capture_output=True, text=True, check=False)
    if made.returncode == UNREACHABLE:
        pytest.skip(f"{name} is not here yet and the package index cannot be reached")
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())
