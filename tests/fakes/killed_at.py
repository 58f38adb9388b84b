"""Run a program of ours and kill it at its n-th step: `python -m fakes.killed_at N MODULE ARGUMENTS`.

A step is a call that changes something of files, or takes a lock, so every N is another place between two of them. The
n-th one is not made. Ends by itself, with the program's own code, where there are not so many.
"""

import os
import runpy
import signal
import sys

_STEPS = {"os.link", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.truncate", "fcntl.flock"}


def main() -> None:
    """Be the program until its n-th step."""
    left = int(sys.argv[1])
    area = sys.argv[2]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        opens = event == "open" and isinstance(arguments[0], str) and arguments[0].startswith((area, "/proc/self/fd"))
        if event in _STEPS or opens:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    module, sys.argv = sys.argv[3], sys.argv[3:]
    sys.addaudithook(count)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
