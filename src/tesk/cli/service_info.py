"""`tesk service-info`: what the server says of itself."""

import argparse

from tesk.cli.output import add_output_argument, print_document
from tesk.cli.session import Session, add_server_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the format."""
    add_server_argument(parser)
    add_output_argument(parser, default="yaml", formats=("yaml", "json"))


def run(args: argparse.Namespace) -> int:
    """Print it."""
    session = Session(args)
    print_document(session.ask(session.calls.service_info()), args.format)
    return 0
