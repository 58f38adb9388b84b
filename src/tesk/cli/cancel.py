"""`tesk cancel`: ask for the end of tasks, by their ids or by what they have in common."""

import argparse
import sys

from tesk.cli.dispatch import say
from tesk.cli.output import talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.wait import PATIENCE
from tesk.cli.waiting import wait_for_all
from tesk.client.answers import text_of
from tesk.client.bulk import Which, cancel_matching
from tesk.errors import BadDocument, RequestError
from tesk.tes.state import TERMINAL, State

EPILOG = """\
Without ids, all of your tasks are canceled that fit what is said of them; an admin's of everybody's. How many those are is
asked first, and whether they are meant: --yes says so beforehand. Safe to repeat.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take ids, or what to match."""
    parser.epilog = EPILOG
    add_server_argument(parser)
    parser.add_argument("-w", "--wait", action="store_true", help="return when nothing of them runs any more")
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        choices=[str(state) for state in State],
        metavar="STATE",
        help="all in this state; may be given several times",
    )
    parser.add_argument("--name-prefix", default="", metavar="PREFIX", help="all with names that begin so")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="all with this tag; of several all must be there",
    )
    parser.add_argument("--all", action="store_true", help="all that have not ended")
    parser.add_argument("--dry-run", action="store_true", help="print how many fit, cancel none")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask whether they are meant")
    parser.add_argument("ids", nargs="*", metavar="ID", help="id of a task; @latest is the newest of yours")


def run(args: argparse.Namespace) -> int:
    """Ask for each, also where one is refused. A task that has ended stays as it is, which is what was wanted: nothing of it runs."""
    pairs = (each.partition("=") for each in args.tag)
    which = Which(args.state, args.name_prefix, tuple((key, value) for key, _, value in pairs), None, args.all)
    if any(which):
        return _matching(args, which)
    if not args.ids or args.dry_run:
        raise BadDocument("name tasks by their ids, or all of some kind: --state, --name-prefix, --tag, --all")
    session = Session(args)
    refused = 0
    ended: dict[str, str] = {}
    asked: list[str] = []
    for task_id in session.ids(args.ids):
        try:
            state = text_of(session.ask(session.calls.get(task_id, "MINIMAL")), "state")
            if state in TERMINAL:
                talk(f"task {task_id} is {state} already; nothing to cancel")
                ended[task_id] = state
                continue
            session.ask(session.calls.cancel(task_id))
        except RequestError as error:
            say(error)
            refused = 1
            continue
        asked.append(task_id)
        if not args.wait:
            print(task_id)
    if args.wait:
        # All are asked first: each ends while others do.
        ended |= wait_for_all(session.patient(PATIENCE), asked) if asked else {}
        for task_id, state in ended.items():
            print(task_id, state)
    return refused


def _matching(args: argparse.Namespace, which: Which) -> int:
    if args.ids or args.wait:
        raise BadDocument(
            f"{'ids' if args.ids else '--wait'}: not together with --state, --name-prefix, --tag or --all"
        )
    if args.all and any(which[:3]):
        raise BadDocument("--all: not together with --state, --name-prefix or --tag")
    session = Session(args)
    if args.dry_run or not args.yes:
        count = session.ask(cancel_matching(session.calls, which, dry_run=True)).matched
        if args.dry_run:
            print(count)
            talk("(nothing was canceled)")
            return 0
        if count and not _confirmed(f"cancel {count} task{'s' * (count != 1)} at {session.origin}?"):
            talk("(nothing was canceled)")
            return 1
    done = session.ask(cancel_matching(session.calls, which, dry_run=False))
    print(done.canceled)
    if not done.matched:
        talk("no task fits")
    return 0


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise BadDocument(f"{question} --yes says so; --dry-run counts")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
