"""`tesk cancel`: ask for the end of tasks."""

import argparse

from tesk.cli.dispatch import say
from tesk.cli.output import talk
from tesk.cli.session import Session, add_ids_argument, add_server_argument
from tesk.cli.waiting import wait_for
from tesk.client.answers import text_of
from tesk.errors import RequestError
from tesk.tes.state import TERMINAL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take ids."""
    add_server_argument(parser)
    parser.add_argument("-w", "--wait", action="store_true", help="return when nothing of them runs any more")
    add_ids_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for each, also where one is refused. A task that has ended stays as it is, which is what was wanted: nothing of it runs."""
    session = Session(args)
    refused = 0
    for task_id in session.ids(args.ids):
        try:
            state = text_of(session.ask(session.calls.get(task_id, "MINIMAL")), "state")
            if state in TERMINAL:
                talk(f"task {task_id} is {state} already; nothing to cancel")
                if args.wait:
                    print(f"{task_id} {state}")
                continue
            session.ask(session.calls.cancel(task_id))
        except RequestError as error:
            say(error)
            refused = 1
            continue
        print(f"{task_id} {wait_for(session, task_id)}" if args.wait else task_id)
    return refused
