"""The server's log."""

import json
import subprocess
import sys

SAY = """
import logging
from tesk.telemetry.logs import write_logs
write_logs({level!r}, {format!r})
logging.getLogger("tesk.x").info("one %s", 1)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("tesk.x").exception("two")
"""


def said(level, form):
    text = SAY.format(level=level, format=form)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stderr.splitlines()


def test_lines_are_for_people():
    lines = said("info", "text")
    assert lines[0].endswith("Z info tesk.x: one 1")
    assert lines[1].endswith("Z error tesk.x: two")
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_lines_are_for_machines():
    one, two = map(json.loads, said("info", "json"))
    assert one == {"time": one["time"], "level": "info", "logger": "tesk.x", "message": "one 1"}
    assert two["traceback"].endswith("ZeroDivisionError: division by zero")


def test_less_severe_lines_are_left_out():
    assert len(said("error", "json")) == 1
