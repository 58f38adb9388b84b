"""`tesk examples`: tasks to start from, as they lie in the package."""

import argparse
from importlib.resources import files
from importlib.resources.abc import Traversable

from tesk.errors import BadDocument

_ENDING = ".yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a name."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this one: `tesk examples hello > task.yaml`")


def run(args: argparse.Namespace) -> int:
    """Print one example, or the names of all with a sentence each."""
    found = examples()
    if args.name is None:
        width = max(len(name) for name in found)
        for name, file in found.items():
            print(f"{name:{width}}  {file.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
    elif args.name in found:
        print(found[args.name].read_text(encoding="utf-8"), end="")
    else:
        raise BadDocument(f"there is no example {args.name}; there are {', '.join(found)}")
    return 0


def examples() -> dict[str, Traversable]:
    """Return the examples by name."""
    there = (each for each in files("tesk").joinpath("examples").iterdir() if each.name.endswith(_ENDING))
    return {each.name.removesuffix(_ENDING): each for each in sorted(there, key=lambda each: each.name)}
