"""The stager as a program: reads a job from stdin, writes the report as one line of JSON to stdout."""

import os
import sys
import threading
import time

from msgspec import DecodeError, json

from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop

_CLEAN_UP_SECONDS = 1.0


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
    stop = Stop()
    if job.held:
        threading.Thread(target=_stop_at_the_end_of_stdin, args=(stop,), daemon=True).start()
    sys.stdout.buffer.write(json.encode(run(job, stop)) + b"\n")
    return 0


def _stop_at_the_end_of_stdin(stop: Stop) -> None:
    while os.read(0, 4096):
        pass
    stop.ask()
    # Transfers take their half-made files away when they are told of the next bytes; a server that is silent tells of none.
    time.sleep(_CLEAN_UP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
