"""A network of its own in which this machine has a public address and a resolver that changes its mind."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PUBLIC = "9.9.9.9"
_ROOM = f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind resolv.conf /etc/resolv.conf"


def in_a_room(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python there."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    own = [shutil.which("unshare") or "unshare", "--mount", *rights, "--net"]
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    tried = subprocess.run([*own, "sh", "-c", _ROOM], check=False, capture_output=True, cwd=folder)
    if shutil.which("ip") is None or tried.returncode:
        pytest.skip("no network and no resolver of its own can be made here")
    again = [*own, "sh", "-c", f'{_ROOM} && exec "$0" "$1"', sys.executable, program]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(again, check=False, capture_output=True, text=True, timeout=60, cwd=folder, env=environment)


class Resolver:
    """Answers questions of DNS over UDP, to each the next answer for its name; `asked` counts those for addresses of IPv4."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        """`names`: what is answered to the first question for a name, and to the next ones (the last for ever)."""
        self._names = names
        self.asked = dict.fromkeys(names, 0)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, who = self._socket.recvfrom(4096)
            self._socket.sendto(self._answer(question), who)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, kind = ".".join(labels).lower(), struct.unpack_from(">H", question, at + 1)[0]
        found = []
        if name in self._names:
            answers = self._names[name]
            # The question for IPv6 goes with the one for IPv4, and may come before it.
            turn = self.asked[name]
            if kind == 1:
                self.asked[name] += 1
            for address in answers[min(turn, len(answers) - 1)]:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                if kind == (28 if family == socket.AF_INET6 else 1):
                    data = socket.inet_pton(family, address)
                    found.append(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data)
        head = question[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
        return head + question[12 : at + 5] + b"".join(found)
