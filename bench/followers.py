"""Follow one stream of events on many connections. Arguments: port, target, how many.

Prints a line once all are open; then, for each line on standard input, waits until each was told of an event and prints when
the last of them was, by the clock of the machine (seconds).
"""

import select
import socket
import sys
import time

_AT_ONCE = 64
"""Connections that wait for their answer: so many fit into what a listening socket keeps."""


def main(port: int, target: str, many: int) -> None:
    asked = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
    lines: dict[int, socket.socket] = {}
    poll = select.epoll()
    while len(lines) < many:
        come = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(min(_AT_ONCE, many - len(lines)))]
        for line in come:
            line.sendall(asked)
        for line in come:
            head = b""
            while b"retry:" not in head:
                head += (data := line.recv(4096))
                if not data:
                    raise RuntimeError(f"a stream did not open: {head!r}")
            line.setblocking(False)
            lines[line.fileno()] = line
            poll.register(line, select.EPOLLIN)
    print("open", flush=True)
    for _ in sys.stdin:
        told: set[int] = set()
        while len(told) < many:
            for number, _ in poll.poll():
                data = lines[number].recv(65536)
                if not data:
                    raise RuntimeError("a stream ended")
                if b"data:" in data:
                    told.add(number)
        print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
