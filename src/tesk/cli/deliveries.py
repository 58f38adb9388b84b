"""`tesk deliveries`: what the listener of a task's callback was told, and send it again."""

import argparse
from urllib.parse import quote

from tesk.cli.output import print_document, printable, talk
from tesk.cli.session import Session, add_ids_argument, add_server_argument
from tesk.client.answers import Document, list_of, text_of

_HEAD = ("SEQUENCE", "STATE", "STATUS", "TRIES", "LAST TRY", "ANSWER")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take ids."""
    add_server_argument(parser)
    parser.add_argument(
        "-o",
        "--output-format",
        dest="format",
        choices=("table", "json", "yaml"),
        default="table",
        help="how to print (table)",
    )
    parser.add_argument("--redeliver", action="store_true", help="send again what failed")
    parser.add_argument("--sequence", type=int, metavar="N", help="with --redeliver: this one, whatever became of it")
    add_ids_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table for each task; with `--redeliver` say how many are sent again."""
    session = Session(args)
    found = []
    for task_id in session.ids(args.ids):
        target = f"/tasks/{quote(task_id, safe='')}/deliveries"
        if args.redeliver:
            query = "" if args.sequence is None else f"?sequence={args.sequence}"
            answer = session.ask(session.calls.extension(f"{target}:redeliver{query}", method="POST"))
            talk(f"task {task_id}: {text_of(answer, 'redelivered')} sent again")
            continue
        found.append(session.ask(session.calls.extension(target)))
    if args.format != "table" and found:
        print_document(found if len(found) > 1 else found[0], args.format)
    for each in found if args.format == "table" else ():
        _print(each)
    return 0


def _print(task: Document) -> None:
    rows = [
        _HEAD,
        *(
            (
                text_of(each, "sequence"),
                text_of(each, "state"),
                text_of(each, "status"),
                text_of(each, "tries"),
                text_of(each, "last_try")[:19].replace("T", " "),
                printable(text_of(each, "error") or f"{text_of(each, 'code')} {text_of(each, 'answer')[:60]}".strip()),
            )
            for each in list_of(task, "deliveries")
        ),
    ]
    widths = [max(len(row[index]) for row in rows) for index in range(len(_HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if task.get("ended") is True:
        talk(f"task {text_of(task, 'id')}: its listener has said that it wants to hear no more")
    elif following := text_of(task, "next_try"):
        talk(f"task {text_of(task, 'id')}: the next is sent from {following} on")
