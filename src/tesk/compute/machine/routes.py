"""What is out of executors' reach where they share the machine's way out: the machine itself, and clouds' credentials."""

import re
from ipaddress import IPv6Address
from pathlib import Path

# Where clouds give their machines credentials.
_CREDENTIALS = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
_CREDENTIALS6 = ("fd00:ec2::/32", "fd20:ce::254/128")


def refused_routes() -> tuple[str, str]:
    """Return what is out of executors' reach, as input of `ip -batch`, for IPv4 and IPv6.

    pasta connects from this machine, so all addresses of this machine are among it, or its services could be reached.
    """
    own = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", _read("/proc/net/fib_trie"))
    own6 = [str(IPv6Address(int(line.split()[0], 16))) for line in _read("/proc/net/if_inet6").splitlines()]
    return _routes([*_CREDENTIALS, *own]), _routes([*_CREDENTIALS6, *own6])


def _routes(refused: list[str]) -> str:
    return "".join(f"route add unreachable {network}\n" for network in dict.fromkeys(refused))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""
