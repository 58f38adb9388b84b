"""`tesk logs`: what a task's executors wrote."""

import argparse

from tesk.cli.ending import STREAMS, print_streams
from tesk.cli.output import talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.waiting import wait_for
from tesk.client.answers import list_of, text_of, words_of
from tesk.errors import NotFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take one id and which part."""
    add_server_argument(parser)
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
    if args.wait:
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
                talk(f"attempt {number}: {sentence}")
    elif not any(list_of(log, "logs") for log in attempts):
        talk(f"task {task_id} is {text_of(task, 'state')} and has written nothing; --system shows what the system says")
    return 0
