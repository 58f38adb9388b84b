"""`tesk wait`: return when tasks have ended, with the task's exit code."""

import argparse

from tesk.cli.ending import exit_code, explain
from tesk.cli.output import add_output_argument, print_document, print_table
from tesk.cli.session import Session, add_ids_argument, add_server_argument
from tesk.cli.waiting import wait_for_all
from tesk.client.answers import Document, text_of
from tesk.client.patience import Patience

PATIENCE = Patience(busy=600, gone=120)
"""A server that starts anew must not end the wait for a task of hours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take ids."""
    add_server_argument(parser)
    add_output_argument(parser, default="name")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this time, with 125")
    add_ids_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Wait for all; the exit code is that of the first one that is not 0."""
    session = Session(args)
    ids = session.ids(args.ids)
    if not session.can("events"):
        for task_id in ids:
            session.ask(session.calls.get(task_id, "MINIMAL"))  # a wrong id, or no server, is said at once
    session = session.patient(PATIENCE)
    states = wait_for_all(session, ids, args.timeout)
    tasks = [_ended(session, task_id, states[task_id], args.format) for task_id in ids]
    if args.format == "name":
        for task in tasks:
            print(text_of(task, "id"), text_of(task, "state"))
    elif args.format in ("json", "yaml"):
        print_document(tasks if len(tasks) > 1 else tasks[0], args.format)
    else:
        print_table([tasks], args.format)
    codes = [exit_code(task) for task in tasks]
    if any(codes):
        bad = [task for task, code in zip(tasks, codes, strict=True) if code]
        # BASIC has no system_logs.
        explain(session.ask(session.calls.get(text_of(bad[0], "id"), "FULL")))
    return next((code for code in codes if code), 0)


def _ended(session: Session, task_id: str, state: str, form: str) -> Document:
    """Return as much of a task as is wanted of it: of most, that it is over is all."""
    if form == "name" and state != "EXECUTOR_ERROR":
        return {"id": task_id, "state": state}
    return session.ask(session.calls.get(task_id, "BASIC"))
