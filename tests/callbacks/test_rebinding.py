"""A name that has another address each time somebody asks: tried with a real resolver, in a network where this machine has a public address.

What is connected to is what was checked, and a name is looked up once for each connection.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from fakes.listener import Cut, listening
from fakes.sending import sending, settled, subscribe
from tesk.settings import CallbacksSettings

PUBLIC = "9.9.9.9"
PORT = 8080
ROOM = f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind resolv.conf /etc/resolv.conf"

NAMES = {
    "turns.example": [[PUBLIC], ["127.0.0.1"]],
    "both.example": [["127.0.0.1", PUBLIC]],
    "back.example": [["127.0.0.1"], [PUBLIC]],
    "hidden.example": [["::ffff:127.0.0.1"]],
    "private.example": [["10.0.0.1", "169.254.169.254", "::1"]],
}
"""What is answered to the first question for a name, and to the next ones (the last for ever)."""


def test_a_name_that_leads_elsewhere_after_the_check_leads_to_nothing_private(tmp_path):
    own = [
        shutil.which("unshare") or "unshare",
        "--mount",
        *([] if os.geteuid() == 0 else ["--map-root-user"]),
        "--net",
    ]
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    tried = subprocess.run([*own, "sh", "-c", ROOM], check=False, capture_output=True, cwd=tmp_path)
    if shutil.which("ip") is None or tried.returncode:
        pytest.skip("no network and no resolver of its own can be made here")
    again = [*own, "sh", "-c", f'{ROOM} && exec "$0" "$1"', sys.executable, __file__]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(again, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    said = json.loads(done.stdout or "{}")
    assert list(said) == list(NAMES), done.stderr
    refused = "may not be called: its address is private"
    # Told over the public address, then the name turned: what was to come next is not sent there.
    assert said["turns.example"] == {"public": 1, "private": 0, "error": True, "asked": 2}
    # Of two addresses the good one is called, whichever stands first.
    assert said["both.example"] == {"public": 2, "private": 0, "error": False, "asked": 2}
    # Refused first, and called once it is public.
    assert said["back.example"] == {"public": 1, "private": 0, "error": False, "asked": 2}
    for name in ("hidden.example", "private.example"):
        assert said[name] == {"public": 0, "private": 0, "error": True, "asked": 2}
    assert refused in done.stderr


class Resolver:
    """Answers questions of DNS over UDP, to each the next answer for its name; `asked` counts those for addresses of IPv4."""

    def __init__(self) -> None:
        self.asked = dict.fromkeys(NAMES, 0)
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
        if name in NAMES:
            answers = NAMES[name]
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


def main() -> None:
    """Tell tasks at each name; their listeners say no once and end the line, so that the next try looks the name up again."""
    resolver = Resolver()
    settings = CallbacksSettings(retry_seconds=0.01, retry_most_seconds=0.02, give_up_seconds=0.0)
    said = {}
    for name in NAMES:
        with (
            listening(lambda _: Cut(b"HTTP/1.1 204 Fine\r\n\r\n"), address=PUBLIC, port=PORT) as public,
            listening(address="127.0.0.1", port=PORT) as private,
        ):

            async def story(name: str = name):
                async with sending(f"{name}.db", settings) as store:
                    url = f"http://{name}:{PORT}/hook"
                    # Two tasks, one after the other.
                    errors = []
                    for _ in range(2):
                        (only,) = await settled(store, await subscribe(store, url, settings))
                        errors.append(only.error)
                    return errors

            errors = uvloop.run(story())
            print(*errors, sep="\n", file=sys.stderr)
            said[name] = {
                "public": public.heard.qsize(),
                "private": private.lines,
                "error": bool(errors[-1]),
                "asked": resolver.asked[name],
            }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
