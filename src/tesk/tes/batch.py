"""Part the body of a batch into the bytes of its tasks, which are read one by one afterwards. Pure."""

import re
from itertools import islice

import msgspec

from tesk.errors import BadRequest, Problem, TooLarge

_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
_ENVELOPE = re.compile(rb'\s*\{\s*"tasks"\s*:\s*(?=\[)')
_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_COMMAS_EACH = 200
"""A list may have as many commas for each task that it may hold: what is only commas would take a hundred times its bytes."""


def of_json(raw: bytes, most: int) -> list[bytes]:
    """Return the tasks of `[...]`, or of `{"tasks": [...]}` with nothing else in it. Raises BadRequest, TooLarge."""
    if raw.count(b",") > most * _COMMAS_EACH:
        raise TooLarge("this is too much for one list: send lines (application/x-ndjson), or fewer tasks at once")
    begin, end = 3 * raw.startswith(_BOM), len(raw)
    if (envelope := _ENVELOPE.match(raw, begin)) is not None:
        begin = envelope.end()
        # Whatever is not a list alone between here and the brace is found by who reads the list.
        end = len(raw.rstrip(_SPACE)) - 1
        if raw[end : end + 1] != b"}":
            raise _no_list("it has no end")
    try:
        tasks = _decode(memoryview(raw)[begin:end])
    except RecursionError as error:
        raise _no_list("it is nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_list(f"{error}") from error
    _require_few(len(tasks), most)
    return [bytes(task) for task in tasks]


def of_lines(raw: bytes, most: int) -> list[bytes]:
    """Return the tasks of lines (NDJSON); empty ones are none. Raises TooLarge."""
    found = _LINE.finditer(raw, 3 * raw.startswith(_BOM))
    tasks = [line[0] for line in islice(found, most + 1)]
    _require_few(len(tasks), most)
    return tasks


def _require_few(count: int, most: int) -> None:
    if count > most:
        raise TooLarge(f"more than {most} tasks came at once (limits.batch_tasks): send some, then the others")


def _no_list(why: str) -> BadRequest:
    wrong = 'must be a list of tasks, or {"tasks": [...]} with nothing else in it'
    return BadRequest(f"the body {wrong}: {why}", (Problem("", f"{wrong}: {why}"),))
