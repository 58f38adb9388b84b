"""The real command as a process, and a server for it."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.tes_server import FakeTes

COMMAND = [str(Path(sys.executable).with_name("tesk"))]


def environment(**more):
    """Return the variables of a person who has set nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESK_") and name != "NO_COLOR"}
    return kept | {"TERM": "xterm"} | more


class Typed:
    """Types commands for a person with a home of their own."""

    def __init__(self, home, server=None):
        self.home = home
        self.variables = {"HOME": str(home)} | ({"TESK_SERVER": server} if server else {})

    def __call__(self, *words, stdin="", **more):
        """Return what `tesk WORDS` did: stdout, stderr, returncode."""
        return subprocess.run(
            [*COMMAND, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.home,
            env=environment(**self.variables, **more),
        )

    def start(self, *words, **more):
        """Start `tesk WORDS`."""
        return subprocess.Popen([*COMMAND, *words], text=True, cwd=self.home, env=environment(**self.variables), **more)

    def on_a_terminal(self, *words, **more):
        """Return all that `tesk WORDS` wrote to a terminal, and its exit code."""
        ours, theirs = pty.openpty()
        process = self.start(*words, stdin=theirs, stdout=theirs, stderr=theirs, **more)
        os.close(theirs)
        seen = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
        os.close(ours)
        return seen.decode(), process.wait(30)


@pytest.fixture
def serve():
    """Start a TES server of somebody else's."""
    contexts = []

    def start(**more):
        contexts.append(FakeTes(**more).serving())
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def tesk(tmp_path):
    """Type a command; no server is named."""
    return Typed(tmp_path)


@pytest.fixture
def tesk_at(tmp_path):
    """Type a command at a server."""
    return lambda server: Typed(tmp_path, server.url)
