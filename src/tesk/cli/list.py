"""`tesk list`: tasks, newest first."""

import argparse
import sys
from collections.abc import Iterator

from tesk.cli.output import add_output_argument, print_document, print_table, talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.wait import PATIENCE
from tesk.cli.watching import Watch
from tesk.client.answers import Document, text_of
from tesk.tes.state import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take filters."""
    add_server_argument(parser)
    add_output_argument(parser)
    parser.add_argument("--state", choices=[str(state) for state in State], metavar="STATE", help="only in this state")
    parser.add_argument("--name-prefix", metavar="PREFIX", help="only with names that begin so")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="only with this tag; all of several must be there",
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="then print each task again as its state changes, until Ctrl-C"
    )
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most N tasks (50); 0: all")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    pairs = (each.partition("=") for each in args.tag)
    tags = tuple((key, value) for key, _, value in pairs)
    if args.watch:
        return _watch(args, tags)
    more = False

    def pages() -> Iterator[list[Document]]:
        nonlocal more
        view = "MINIMAL" if args.format == "name" else "BASIC"
        for page in Session(args).tasks(
            view=view, limit=args.limit, state=args.state, name_prefix=args.name_prefix, tags=tags
        ):
            more = not page
            if page:
                yield page

    if args.format == "name":
        for page in pages():
            print("\n".join(text_of(task, "id") for task in page))
    elif args.format in ("json", "yaml"):
        print_document([task for page in pages() for task in page], args.format)
    else:
        print_table(pages(), args.format)
    if more:
        talk(f"(there are more than {args.limit}; --limit 0 shows all)")
    return 0


def _watch(args: argparse.Namespace, tags: tuple[tuple[str, str], ...]) -> int:
    """Print them, and each again as it changes."""
    session = Session(args)
    if not session.can("events"):
        talk(f"{session.origin} does not tell what changes, as TESK does; looking again every few seconds")
    watch = Watch(
        session.patient(PATIENCE),
        view="MINIMAL" if args.format == "name" else "BASIC",
        limit=args.limit,
        state=args.state,
        name_prefix=args.name_prefix,
        tags=tags,
    )

    def pages() -> Iterator[list[Document]]:
        for page in watch.pages():
            yield page
            sys.stdout.flush()

    if args.format in ("table", "wide"):
        print_table(pages(), args.format)
    for page in pages() if args.format not in ("table", "wide") else ():
        for task in page:
            if args.format == "name":
                print(text_of(task, "id"), text_of(task, "state"))
            else:
                print_document(task, args.format)
    return 0
