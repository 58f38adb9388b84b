"""`tesk serve`: run a server on this machine until it is told to end."""

import argparse

from tesk.cli.loaded import add_settings_arguments, settings_in_force
from tesk.service import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take every flag that stands for a setting."""
    add_settings_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve, and say on stdout where, once connections are accepted."""
    loaded = settings_in_force(args)
    serve(loaded.settings, lambda url: print(f"TESK listens on {url}", flush=True), own=loaded.files)
    return 0
