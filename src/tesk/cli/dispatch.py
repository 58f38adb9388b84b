"""Run one word's module, and turn what went wrong into a sentence and an exit code."""

import argparse
import importlib
import os
import signal
import sys

from tesk.errors import BadDocument, BadRequest, SettingsError, TeskError, TooLarge, Unauthenticated

USAGE = 2
SYSTEM = 125
INTERRUPTED = 130


def dispatch(module: str, args: argparse.Namespace) -> int:
    """Return the exit code of `module.run(args)`."""
    try:
        code: int = importlib.import_module(module).run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted (`tesk list | head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except TeskError as error:
        say(error)
        if is_wrong_input(error):
            return USAGE
        # `run` and `wait` end as the task does: what is ours must not look like the task's own end.
        return SYSTEM if args.command in ("run", "wait") else 1
    return code


def is_wrong_input(error: TeskError) -> bool:
    """Say whether what was typed or written is not right, whoever found it out: it will never be."""
    return isinstance(error, SettingsError | BadDocument | BadRequest | TooLarge)


def say(error: TeskError) -> None:
    """Write an error for a person, its problems each with their path."""
    print(f"tesk: {error}", file=sys.stderr)
    if isinstance(error, BadRequest):
        for problem in error.problems:
            print(f"  {problem.path}: {problem.detail}", file=sys.stderr)
    if isinstance(error, Unauthenticated):
        print("  try: TESK_TOKEN=TOKEN, or a name and password in TESK_SERVER", file=sys.stderr)
