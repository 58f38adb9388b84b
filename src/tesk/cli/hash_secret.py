"""`tesk hash-secret`: make the hash of a password or token that the settings want. The secret is never an argument."""

import argparse
import getpass
import secrets
import sys

from tesk.api.hashing import hash_secret
from tesk.cli.output import talk
from tesk.errors import BadDocument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what kind of secret it is."""
    parser.add_argument(
        "--token", action="store_true", help="a bearer token for auth.tokens, not a password for auth.users"
    )
    parser.add_argument("--new", action="store_true", help="make a token at random; it is printed to stderr, once")


def run(args: argparse.Namespace) -> int:
    """Read the secret from the terminal, unseen, or from stdin; print its hash."""
    if args.new:
        secret = secrets.token_urlsafe(32)
        talk(f"token: {secret}")
    elif sys.stdin.isatty():
        secret = getpass.getpass("secret: ")
        if secret != getpass.getpass("again: "):
            raise BadDocument("the two are not the same")
    else:
        secret = sys.stdin.read().rstrip("\r\n")
    if not secret:
        raise BadDocument("an empty secret lets everybody in")
    print(hash_secret(secret, "token" if args.token or args.new else "password"))
    return 0
