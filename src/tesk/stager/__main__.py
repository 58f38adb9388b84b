"""The stager as a program: reads a job from stdin, writes to stdout lines of JSON, how far it is and at last the report.

The word `tesk` in a line says what it is, and in which version: `progress/1`, `report/1` (`tesk.transfer`).
"""

import os
import sys
import threading
import time

from msgspec import DecodeError, json

from tesk.stager.feed import serve
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.transfer import Progress, TransferReport

_CLEAN_UP_SECONDS = 1.0
_saying = threading.Lock()


def main() -> int:
    """Return 0 when there is a report, whatever it says; 2 when there was no job on stdin."""
    line = bytearray()
    while b"\n" not in line:
        piece = os.read(0, 1024 * 1024)
        if not piece:
            break
        line += piece
    try:
        job = json.decode(line, type=Job)
    except DecodeError as error:
        print(f"python -m tesk.stager: no job on stdin: {error}", file=sys.stderr)
        return 2
    if job.direction == "streams":
        serve(job, _say, _read_to_the_end)
        os._exit(0)  # who waits for a reader waits in vain
    stop = Stop()
    if job.held:
        threading.Thread(target=_stop_at_the_end_of_stdin, args=(stop,), daemon=True).start()
    report = run(job, stop, told=_say)
    assert report is not None  # nothing is too much
    _say(report)
    return 0


def _say(line: Progress | TransferReport) -> None:
    left = memoryview(json.encode(line) + b"\n")
    with _saying:
        while left:
            left = left[os.write(1, left) :]


def _read_to_the_end() -> None:
    while os.read(0, 4096):
        pass


def _stop_at_the_end_of_stdin(stop: Stop) -> None:
    _read_to_the_end()
    stop.ask()
    # Transfers take their half-made files away when they are told of the next bytes; a server that is silent tells of none.
    time.sleep(_CLEAN_UP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
