"""`tesk get`: tasks as they stand."""

import argparse

from tesk.cli.output import Column, add_output_argument, print_document, print_table, printable, talk
from tesk.cli.session import Session, add_ids_argument, add_server_argument
from tesk.client.answers import Document, text_of
from tesk.errors import ClientError, RequestError
from tesk.tes.amounts import amount

_MOVES_DATA = ("INITIALIZING", "RUNNING")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take ids."""
    add_server_argument(parser)
    add_output_argument(parser, default="yaml")
    parser.add_argument(
        "--view", choices=("MINIMAL", "BASIC", "FULL"), default="FULL", help="how much of each (FULL, with its output)"
    )
    add_ids_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print them: one task as it is, several as a list."""
    session = Session(args)
    tasks = [session.ask(session.calls.get(task_id, args.view)) for task_id in session.ids(args.ids)]
    if args.format == "name":
        print("\n".join(text_of(task, "id") for task in tasks))
        return 0
    moving: dict[str, str] = {}
    for task in tasks:
        known = _known(session, task)
        _make_exact(task, known)
        if moved := _moving(known):
            moving[text_of(task, "id")] = moved
    if args.format in ("json", "yaml"):
        print_document(tasks if len(tasks) > 1 else tasks[0], args.format)
        for task in tasks:
            if text_of(task, "state") == "INITIALIZING" and (why := moving.get(text_of(task, "id"))):
                talk(f"task {text_of(task, 'id')}: {why}")
    else:
        print_table([tasks], args.format, _column(moving) if moving else ())
    return 0


def _known(session: Session, task: Document) -> Document:
    """What the server knows beyond TES of a task, where that would be shown; nothing of a server that is not ours."""
    if text_of(task, "state") not in _MOVES_DATA and not text_of(task, "resources", "cpu_cores"):
        return {}
    try:
        return session.ask(session.calls.details(text_of(task, "id")))
    except (RequestError, ClientError):
        return {}


def _make_exact(task: Document, known: Document) -> None:
    """Put the cores in that the task asked for: TES has whole numbers alone, so its answers round fractions up."""
    resources, exact = task.get("resources"), known.get("cpu_cores")
    if isinstance(resources, dict) and resources.get("cpu_cores") and isinstance(exact, float) and exact % 1:
        resources["cpu_cores"] = exact


def _moving(known: Document) -> str:
    """How far a task's data is, or why it does not run yet; "" where there is nothing to say."""
    moved = known.get("transfer")
    return _progress(moved) if isinstance(moved, dict) else printable(text_of(known, "waiting"))


def _progress(moved: Document) -> str:
    def number(name: str) -> float:
        value = moved.get(name)
        return value if isinstance(value, int | float) else 0

    if trouble := text_of(moved, "trouble"):
        return f"{text_of(moved, 'direction')}: {trouble}"
    of = f" of {amount(number('size_bytes'))}" if number("size_bytes") else ""
    return (
        f"{text_of(moved, 'direction')}: {number('files_done'):.0f} of {number('files'):.0f} files, "
        f"{amount(number('size_bytes_done'))}{of}, {amount(number('bytes_per_second'))}/s"
    )


def _column(moving: dict[str, str]) -> tuple[Column, ...]:
    return (("MOVING", lambda task: moving.get(text_of(task, "id"), "")),)
