"""A client that keeps some tasks under way: submits, waits by long polls for COMPLETE, submits the next. A process of its own.

Arguments: port, tasks at once, tasks in all, the task as JSON. Prints tasks per second and the median seconds of one. What stands
for NUMBER in the task is another number in each of those at once.
"""

import json
import re
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.load import request

PATH = "/ga4gh/tes/v1/tasks"


@dataclass(frozen=True, slots=True)
class Kept:
    """What one run of the client saw."""

    rate: float
    median_seconds: float


def keep(port: int, at_once: int, amount: int, task: bytes) -> Kept:
    """Run the client in another process."""
    command = [sys.executable, "-m", "bench.outstanding", str(port), str(at_once), str(amount), task.decode()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Kept(**json.loads(done.stdout))


def _one_after_the_other(port: int, amount: int, body: bytes) -> list[float]:
    spent = []
    submit = request("POST", PATH, port, body).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(amount):
            begun = time.perf_counter()
            task_id = json.loads(_ask(connection, submit)[1])["id"]
            wait = request("GET", f"{PATH}/{task_id}?wait=30", port)
            state, tag = "", ""
            while state != "COMPLETE":
                head, found = _ask(connection, (wait[:-2] + f"If-None-Match: {tag}\r\n\r\n" if tag else wait).encode())
                if head.startswith(b"HTTP/1.1 200"):
                    state = json.loads(found)["state"]
                    if state in {"EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}:
                        raise SystemExit(f"{task_id} ended {state}")
                if matched := re.search(rb"^etag: (.+?)\r?$", head, re.MULTILINE | re.IGNORECASE):
                    tag = matched[1].decode()
            spent.append(time.perf_counter() - begun)
    return spent


def _ask(connection: socket.socket, what: bytes) -> tuple[bytes, bytes]:
    connection.sendall(what)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise SystemExit("the server closed the connection")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: (\d+)", head, re.MULTILINE | re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head, body


if __name__ == "__main__":
    port, at_once, amount = map(int, sys.argv[1:4])
    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        bodies = [sys.argv[4].replace("NUMBER", str(number)).encode() for number in range(at_once)]
        runs = [pool.submit(_one_after_the_other, port, amount // at_once, body) for body in bodies]
        times = [spent for run in runs for spent in run.result()]
    seconds = time.perf_counter() - begun
    print(json.dumps({"rate": len(times) / seconds, "median_seconds": statistics.median(times)}))
