"""`tesk version`: print the version."""

import argparse

from tesk import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take nothing."""


def run(_args: argparse.Namespace) -> int:
    """Print it."""
    print(f"tesk {__version__}")
    return 0
