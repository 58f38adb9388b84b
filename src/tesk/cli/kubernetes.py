"""`tesk kubernetes`: what is done to a cluster beside a server: clear it, once the server is gone."""

import argparse
import asyncio
import importlib

from tesk.cli.loaded import add_config_argument, settings_in_force


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs", prog="tesk kubernetes")
    clear = verbs.add_parser(
        "clear",
        help="end and remove every pod of kubernetes.server_id, with what is its; its server must be gone, or it starts them anew",
    )
    add_config_argument(clear)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    settings = settings_in_force(args).settings
    # It needs a package that is not everybody's.
    count = asyncio.run(importlib.import_module("tesk.compute.kubernetes.clearing").clear_settled(settings))
    print(f"{count} pods were there, and none is left")
    return 0
