"""Whose socket is at the other end of a TCP connection on this machine.

The kernel is asked for exactly that connection (sock_diag), or where it cannot be asked, read in `/proc/net/tcp{,6}`.
A socket whose program has closed it belongs to nobody any more: older kernels then say uid 0, and an inode of 0.
"""

import os
import socket
import struct
from ipaddress import IPv6Address, ip_address
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_NO_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI2s2s16s16sIII")
_ID_END = struct.Struct("=IIIII")
"""After family, state, timer, retransmissions and the id: expires, read queue, write queue, uid, inode."""
_ID_END_AT = 16 + 4 + 48
_TIMEOUT_SECONDS = 2.0
_REMEMBERED = 4096

Address = tuple[str, int]


class Peers:
    """Says of connections whether they come from this user or root. Asks once for each."""

    def __init__(self) -> None:
        self._allowed_uids = frozenset({os.geteuid(), 0})
        # By the address, which is used again; so the very tuple, which is made anew with each connection, is kept.
        self._known: dict[Address, tuple[Address, bool]] = {}

    def may_come(self, client: Address | None, server: Address | None) -> bool:
        """Say whether a connection is to be served. `client` is the object that all its requests share."""
        if client is None or server is None:
            return False
        known = self._known.get(client)
        if known is not None and known[0] is client:
            return known[1]
        allowed = uid_of(client, server) in self._allowed_uids
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[client] = (client, allowed)
        return allowed


def uid_of(client: Address, server: Address) -> int | None:
    """Return the uid that owns the socket of `client` connected to `server`; None where there is none on this machine."""
    try:
        return by_netlink(client, server)
    except OSError:
        return by_proc(client, server)


def by_netlink(client: Address, server: Address) -> int | None:
    """Ask the kernel for one connection. Raises OSError where it cannot be asked."""
    family, source, destination = _packed(client, server)
    request = _REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        0,
        0xFFFFFFFF,
        struct.pack("!H", client[1]),
        struct.pack("!H", server[1]),
        source,
        destination,
        0,
        _NO_COOKIE,
        _NO_COOKIE,
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(_TIMEOUT_SECONDS)
        length = _HEADER.size + len(request)
        asked.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = asked.recv(4096)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        # ENOENT: no such connection, or a kernel that has no tcp_diag; `/proc` knows.
        raise OSError(number, os.strerror(number))
    _, _, _, uid, inode = _ID_END.unpack_from(answer, _HEADER.size - 16 + _ID_END_AT)
    return uid if inode else None


def by_proc(client: Address, server: Address) -> int | None:
    """Read the connections of this network namespace; a line each, so slower the more there are."""
    wanted = {f"{_hex(*client)} {_hex(*server)}", f"{_hex(*client, mapped=True)} {_hex(*server, mapped=True)}"}
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if f"{words[1]} {words[2]}" in wanted:
                return int(words[7]) if words[9] != "0" else None
    return None


def _packed(client: Address, server: Address) -> tuple[int, bytes, bytes]:
    here, there = ip_address(client[0].partition("%")[0]), ip_address(server[0].partition("%")[0])
    return (
        socket.AF_INET if here.version == 4 else socket.AF_INET6,
        here.packed.ljust(16, b"\0"),
        there.packed.ljust(16, b"\0"),
    )


def _hex(address: str, port: int, *, mapped: bool = False) -> str:
    """Return an address as /proc writes it: words of 32 bits in the machine's order."""
    found = ip_address(address.partition("%")[0])
    packed = found.packed
    if mapped and found.version == 4:
        packed = IPv6Address(f"::ffff:{found}").packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
