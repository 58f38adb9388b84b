"""The `tesk` command: which words there are. Each word's module is loaded only when the word is said, so that a start is quick.

Such a module has `add_arguments(parser)` and `run(args) -> int`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from tesk import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("tesk.cli.serve", "start a server on this machine"),
    "listener": ("tesk.cli.listener", "hear of tasks of TES servers, and tell those who wait"),
    "run": ("tesk.cli.run", "run one command as a task, wait, print what it prints"),
    "submit": ("tesk.cli.submit", "submit tasks from YAML or JSON"),
    "list": ("tesk.cli.list", "list tasks, newest first"),
    "get": ("tesk.cli.get", "show tasks"),
    "logs": ("tesk.cli.logs", "print what a task's executors wrote"),
    "wait": ("tesk.cli.wait", "wait for tasks to end; end with the task's exit code"),
    "cancel": ("tesk.cli.cancel", "cancel tasks"),
    "deliveries": ("tesk.cli.deliveries", "show what listeners were told of tasks, or tell them again"),
    "examples": ("tesk.cli.examples", "print a task to start from"),
    "render": ("tesk.cli.render", "print what would be created in a Kubernetes cluster for a task"),
    "service-info": ("tesk.cli.service_info", "show what the server says of itself"),
    "config": ("tesk.cli.config", "show the settings in force, and where each comes from"),
    "doctor": ("tesk.cli.doctor", "look for what would keep tasks from running here"),
    "database": ("tesk.cli.database", "upgrade, prune, back up or check the server's database"),
    "kubernetes": ("tesk.cli.kubernetes", "clear a Kubernetes cluster of what a server left"),
    "hash-secret": ("tesk.cli.hash_secret", "make the hash of a token or password for the settings"),
    "completion": ("tesk.cli.completion", "print a script that completes words in your shell"),
    "version": ("tesk.cli.version", "print the version"),
}
"""Word, module, sentence."""

EPILOG = """\
exit codes:
  0     done
  1     the server, the network or a task did not do as asked
  2     what was typed, or a file or setting, is not right
  125   run, wait: a system error, of the task's or between here and the server
  130   run, wait: the task was canceled; any command: Ctrl-C
  else  run, wait: the task's own exit code

variables:
  TESK_SERVER  where the server is (http://127.0.0.1:8000); a name and password may stand in it
  TESK_TOKEN   bearer token
  NO_COLOR     no colors, no moving things
  TESK_CONFIG and all others: settings, see `tesk config`
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that was typed and return its exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed == ["--version"]:  # asked by scripts in loops: answered before anything is built
        print(f"tesk {__version__}")
        return 0
    args = build(typed[0] if typed else None).parse_args(typed)
    # Late, too: what catches errors knows all errors, and help needs none.
    return int(importlib.import_module("tesk.cli.dispatch").dispatch(COMMANDS[args.command][0], args))


def build(word: str | None) -> argparse.ArgumentParser:
    """Return the parser that knows all words, and the arguments of one."""
    parser = argparse.ArgumentParser(
        prog="tesk",
        description="Run tasks by the GA4GH Task Execution Service API (TES 1.1).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tesk {__version__}")
    words = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands", prog="tesk")
    for name, (_, sentence) in COMMANDS.items():
        one = words.add_parser(name, help=sentence)
        if name == word:
            _fill(one, name)
    return parser


def parser_of(word: str) -> argparse.ArgumentParser:
    """Return the parser of one word alone."""
    return _fill(argparse.ArgumentParser(prog=f"tesk {word}"), word)


def _fill(parser: argparse.ArgumentParser, word: str) -> argparse.ArgumentParser:
    module, sentence = COMMANDS[word]
    parser.description = sentence[:1].upper() + sentence[1:] + "."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    importlib.import_module(module).add_arguments(parser)
    return parser
