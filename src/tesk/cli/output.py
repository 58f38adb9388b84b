"""What commands print: tasks as a table, as JSON, YAML or names. Data goes to stdout, talk to stderr."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from tesk.client.answers import Document, list_of, text_of, words_of

FORMATS = ("table", "wide", "json", "yaml", "name")

_COLORS = {"COMPLETE": "32", "RUNNING": "36", "INITIALIZING": "36", "EXECUTOR_ERROR": "31", "SYSTEM_ERROR": "31"}


def add_output_argument(
    parser: argparse.ArgumentParser, default: str = "table", formats: Sequence[str] = FORMATS
) -> None:
    """Take `-o`."""
    parser.add_argument(
        "-o", "--output-format", dest="format", choices=formats, default=default, help=f"how to print ({default})"
    )


def talk(text: str) -> None:
    """Say something to the person, not to the program behind the pipe."""
    print(text, file=sys.stderr)


def moving(stream: TextIO) -> bool:
    """Say whether colors and moving things are welcome on a stream."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Return text without control characters: a task's name must not drive the reader's terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_document(document: object, form: str) -> None:
    """Print one value as JSON or YAML."""
    if form == "yaml":
        # Late: YAML costs 50 ms, and most commands print none.
        print(importlib.import_module("tesk.cli.documents").as_yaml(document), end="")
    else:
        print(json.dumps(document, indent=2, ensure_ascii=False))


Column = tuple[str, Callable[[Document], str]]

_TABLE: tuple[Column, ...] = (
    ("ID", lambda task: text_of(task, "id")),
    ("STATE", lambda task: text_of(task, "state")),
    ("CREATED", lambda task: text_of(task, "creation_time")[:19].replace("T", " ")),
    ("NAME", lambda task: text_of(task, "name")),
)

_WIDE: tuple[Column, ...] = (
    *_TABLE[:3],
    ("CPU", lambda task: text_of(task, "resources", "cpu_cores")),
    ("RAM GB", lambda task: text_of(task, "resources", "ram_gb")),
    ("ATTEMPTS", lambda task: str(len(list_of(task, "logs")))),
    ("EXIT", lambda task: ",".join(_exit_codes(task))),
    _TABLE[3],
    ("TAGS", lambda task: ",".join(f"{key}={value}" for key, value in _tags(task).items())),
    ("COMMAND", lambda task: " ".join(words_of((list_of(task, "executors") or [{}])[0], "command"))[:60]),
)


def print_table(pages: Iterable[list[Document]], form: str, more: tuple[Column, ...] = ()) -> None:
    """Print tasks as rows, page by page as they come, with `more` columns; widths are those of the first page."""
    columns = (*(_WIDE if form == "wide" else _TABLE), *more)
    widths: list[int] = []
    colored = moving(sys.stdout)
    for page in pages:
        rows = [[printable(cell(task)) for _, cell in columns] for task in page]
        if not widths:
            rows.insert(0, [name for name, _ in columns])
            widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            if colored and (color := _COLORS.get(row[1])):
                cells[1] = f"\x1b[{color}m{cells[1]}\x1b[0m"
            print("  ".join(cells).rstrip())


def _exit_codes(task: Document) -> list[str]:
    logs = list_of(task, "logs")
    return [text_of(log, "exit_code") or "?" for log in list_of(logs[-1], "logs")] if logs else []


def _tags(task: Document) -> Document:
    tags = task.get("tags")
    return tags if isinstance(tags, dict) else {}
