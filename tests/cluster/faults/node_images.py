"""Images that a node has by names of a test's own, so that nobody misses them when they are taken away."""

import shlex
import subprocess
import uuid

from cluster.attempts import BUSYBOX


class NodeImages:
    """The command that keeps the images of the node: `$CLUSTER_IMAGES tag OLD NEW`, `$CLUSTER_IMAGES rm NAME`."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)
        self._names: list[str] = []

    def named(self) -> str:
        """Give the node busybox by a name that nobody else has; return the name."""
        name = f"tesk.test/own-{uuid.uuid4().hex[:8]}:1"
        self._run("tag", BUSYBOX, name)
        self._names.append(name)
        return name

    def remove(self, name: str) -> None:
        """Take a name away. What runs from it has its files as before."""
        self._run("rm", name)
        self._names.remove(name)

    def close(self) -> None:
        """Take away what is still there."""
        for name in [*self._names]:
            self.remove(name)

    def _run(self, *words: str) -> None:
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
