"""What podman runs beside a container, before its program: OCI hooks, for what its command line has no option for.

One fills in variables that a file of lines cannot hold; the other closes routes: containers behind the engine's bridge
reach all that listens on this machine, and the credentials that clouds give to their machines.
"""

import json
import os
import shutil
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

from tesk.compute.containers.environment import script
from tesk.compute.machine.routes import refused_routes

_USUAL = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")

# The state of the container comes on standard input, as JSON in one line. Each program costs every task a millisecond.
_CLOSE_ROUTES = (
    'read -r state; pid=${state##*\'"pid":\'}; pid=${pid# }; pid=${pid%%[!0-9]*}; [ -n "$pid" ] || exit 1; '
    'exec nsenter --net="/proc/$pid/ns/net" sh "$0/close" "$0"'
)

# Inside the network of the container. The way out goes by the gateway of the engine's bridge, which is this machine
# itself; a way out that is there stays when its gateway can be reached by nothing else.
_CLOSE = """ip -batch "$1/routes" || exit 1
ip -6 -force -batch "$1/routes6" 2>/dev/null
exit 0
"""
_CLOSE_BRIDGE = """{
    cat "$1/routes"
    ip route show scope link | while read -r net _; do echo "route replace unreachable $net"; done
} | ip -batch - || exit 1
{
    cat "$1/routes6"
    ip -6 route show proto kernel | while read -r net _ device _; do
        echo "route del $net dev $device"
        echo "route add unreachable $net"
    done
} | ip -6 -force -batch - 2>/dev/null
exit 0
"""


def write_hooks(folder: Path, odd: Mapping[str, str], network: str) -> list[str]:
    """Write what is needed into a new folder and return the options of podman that name it, none where nothing is needed.

    `network` is podman's own word. On its `bridge` containers share a network with each other and this machine, which is
    closed as well.
    """
    close_routes = network not in {"none", "host"}
    if not odd and not close_routes:
        return []
    folder.mkdir(mode=0o700, exist_ok=True)
    if odd:
        (folder / "environment.sed").write_text(script(odd))
        _write(folder / "environment.json", "precreate", "sed", "-f", str(folder / "environment.sed"))
    if close_routes:
        routes, routes6 = refused_routes()
        (folder / "routes").write_text(_but_resolver(routes) if network == "pasta" else routes)
        (folder / "routes6").write_text(routes6)
        (folder / "close").write_text(_CLOSE_BRIDGE if network == "bridge" else _CLOSE)
        _write(folder / "network.json", "createRuntime", "sh", "-c", _CLOSE_ROUTES, str(folder))
    usual = [path for path in _USUAL if os.path.isdir(path)]
    return [word for path in (*usual, str(folder)) for word in ("--hooks-dir", path)]


def missing() -> str | None:
    """Return the sentence that says which program the hooks lack, None where all are there."""
    packages = {"sed": "sed", "nsenter": "util-linux", "ip": "iproute2"}
    for program, package in packages.items():
        if _find(program) is None:
            return f"{program} is not installed; try: apt install {package}"
    return None


def _but_resolver(routes: str) -> str:
    """Leave out of closed routes where podman has pasta listen for questions about names."""
    link_local = IPv4Network("169.254.0.0/16")
    open_one = link_local.address_exclude(IPv4Network("169.254.1.1/32"))
    others = "".join(f"route add unreachable {network}\n" for network in open_one)
    return routes.replace(f"route add unreachable {link_local}\n", others)


def _write(path: Path, stage: str, program: str, *arguments: str) -> None:
    found = _find(program) or f"/usr/bin/{program}"
    hook = {"path": found, "args": [program, *arguments], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    path.write_text(json.dumps({"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": [stage]}))


def _find(program: str) -> str | None:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
