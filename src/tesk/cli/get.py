"""`tesk get`: tasks as they stand."""

import argparse

from tesk.cli.output import add_output_argument, print_document, print_table
from tesk.cli.session import Session, add_ids_argument, add_server_argument
from tesk.client.answers import text_of


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
    if args.format in ("json", "yaml"):
        print_document(tasks if len(tasks) > 1 else tasks[0], args.format)
    elif args.format == "name":
        print("\n".join(text_of(task, "id") for task in tasks))
    else:
        print_table([tasks], args.format)
    return 0
