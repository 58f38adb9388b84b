"""What executors reach: the world but for this machine (`nat`), nothing (`off`), or all that this machine does (`host`)."""

import shutil
from collections.abc import Sequence
from typing import Literal

Mode = Literal["nat", "off", "host"]

RESOLVER = "192.0.2.53"
"""With `nat`: where executors ask for names (a documentation address); pasta passes it on to the machine's resolver."""

ARGUMENTS, GATE, STATUS = 7, 8, 9
"""With `nat`: the numbers under which bubblewrap finds further arguments, its gate and its status."""

_PASTA = (
    *("--quiet", "--config-net", "--no-map-gw", "--dns-forward", RESOLVER),
    *("-t", "none", "-u", "none", "-T", "none", "-U", "none"),
)

# In the network namespace, before the sandbox: nothing inside may change routes. pasta may close descriptors, so the gate
# and the status come by their paths.
_SCRIPT = (
    "own=$0; ip -batch $own/routes || exit 1; ip -6 -force -batch $own/routes6 2>/dev/null; "
    f'exec "$@" {ARGUMENTS}<"$own/arguments" {GATE}<"$own/gate" {STATUS}>"$own/status"'
)

SAYS: dict[Mode, str] = {
    "nat": "Executors reach the network by pasta, but not this machine's own services.",
    "off": "Executors have no network.",
    "host": "Executors share this machine's network: they can reach this server and all that listens on loopback.",
}


def missing_for_nat() -> str | None:
    """Return the sentence that says which program `nat` lacks, None where all are there."""
    packages = {"pasta": "passt", "ip": "iproute2", "setpriv": "util-linux"}
    for program, package in packages.items():
        if _find(program) is None:
            return f"{program} is not installed; try: apt install {package}"
    return None


def through_pasta(arguments: Sequence[str], own: str) -> list[str]:
    """Return the command line that gives a sandbox a network of its own. `own`: the folder with its gate, status, arguments, and routes.

    pasta knows nothing of its parent's end, so setpriv asks the kernel to kill it then; bubblewrap goes with pasta.
    """
    return [
        *("setpriv", "--pdeathsig", "KILL", "--", _find("pasta") or "pasta", *_PASTA),
        *("--", "/bin/sh", "-c", _SCRIPT, own, *arguments),
    ]


def setpriv() -> str:
    """Where setpriv is."""
    return _find("setpriv") or "/usr/bin/setpriv"


def _find(program: str) -> str | None:
    """Where a program is: by the server's PATH, as bubblewrap, else where a user's PATH need not lead."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
