"""The real command as a process, typed by a person with a home of their own."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

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

    def on_a_terminal(self, *words, typing=b"", **more):
        """Return all that `tesk WORDS` wrote to a terminal, and its exit code. `typing` is typed at it."""
        ours, theirs = pty.openpty()
        os.write(ours, typing)
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
