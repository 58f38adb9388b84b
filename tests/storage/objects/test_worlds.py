"""The servers that tests start end with them, however that is."""

import os
import select
import subprocess
import sys

from seaweed import DIES_WITH_US

RUN = f"""
import subprocess
subprocess.Popen([*{DIES_WITH_US!r}, "sh", "-c", "echo $$; exec sleep 1000"])
input()
"""


def test_a_server_ends_with_a_run_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        server = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
        ended, _, _ = select.select([server], [], [], 10)
        os.close(server)
        assert ended
