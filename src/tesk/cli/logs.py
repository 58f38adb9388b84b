"""`tesk logs`: what a task's executors wrote."""

import argparse
import contextlib
import time

from tesk.cli.ending import STREAMS, print_streams
from tesk.cli.following import follow
from tesk.cli.output import printable, talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.wait import PATIENCE
from tesk.cli.waiting import wait_for, why_it_waits
from tesk.client.answers import list_of, text_of, words_of
from tesk.errors import NotEnded, NotFound

_BEFORE = frozenset({"QUEUED", "INITIALIZING"})
_SETTLED_SECONDS = 3.0
"""When streams have ended it shows within so long whether the attempt was lost."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take one id and which part."""
    add_server_argument(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="print what executors write while they do, stdout and stderr as one"
    )
    parser.add_argument("-w", "--wait", action="store_true", help="wait for the end of the task first")
    parser.add_argument("--stream", choices=STREAMS, help="only this one (both, each to its own stream here)")
    parser.add_argument("--executor", type=int, metavar="N", help="only the executor N, counted from 0")
    parser.add_argument("--attempt", type=int, metavar="N", help="the attempt N, counted from 1 (the last)")
    parser.add_argument("--system", action="store_true", help="what the system says of the task, too")
    parser.add_argument("id", metavar="ID", help="id of a task; @latest is the newest one")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    session = Session(args)
    (task_id,) = session.ids([args.id])
    if args.follow and args.attempt is None:
        if _follow(session, task_id, args):
            return 0
        talk(f"{session.origin} does not show what runs, as TESK does; waiting for the end of the task")
    if args.wait or args.follow:
        wait_for(session, task_id)
    task = session.ask(session.calls.get(task_id, "FULL"))
    attempts = list_of(task, "logs")
    if args.attempt is not None and not 1 <= args.attempt <= len(attempts):
        raise NotFound(f"task {task_id} has {len(attempts)} attempts, so no attempt {args.attempt}")
    print_streams(
        task, attempt=args.attempt, executor=args.executor, streams=(args.stream,) if args.stream else STREAMS
    )
    if args.system:
        for number, log in enumerate(attempts, 1):
            for sentence in words_of(log, "system_logs"):
                talk(f"attempt {number}: {printable(sentence)}")
    elif not any(list_of(log, "logs") for log in attempts):
        talk(f"task {task_id} is {text_of(task, 'state')} and has written nothing; --system shows what the system says")
    return 0


def _follow(session: Session, task_id: str, args: argparse.Namespace) -> bool:
    """Print executors as they go on, of a later attempt too; False where the server is not ours, and does not tell."""
    if not session.can("logs"):
        return False
    task = session.ask(session.calls.get(task_id, "BASIC"))
    every = range(len(list_of(task, "executors")))
    if args.executor is not None and args.executor not in every:
        raise NotFound(f"task {task_id} has {len(every)} executors, so no executor {args.executor}")
    if text_of(task, "state") in _BEFORE and (why := why_it_waits(session, task_id)):
        talk(f"task {task_id} waits: {why}")
    while True:
        follow(session, task_id, args.executor, args.stream or "combined")
        state = _state_behind(session.patient(PATIENCE), task_id)
        if state not in _BEFORE:
            break
        talk(f"task {task_id} is tried again")
    if state == "RUNNING":
        talk(f"task {task_id} is still RUNNING: its executors have ended, and its outputs are on their way")
    return True


def _state_behind(session: Session, task_id: str) -> str:
    """Return the state when streams have ended: where the attempt was lost and another one follows, one before RUNNING."""
    states: list[str] = []
    with contextlib.suppress(NotEnded):
        session.ask(
            session.calls.wait(task_id, clock=time.monotonic, timeout_seconds=_SETTLED_SECONDS, told=states.append)
        )
    return states[-1]
