"""Measure all areas, or those that are named; print one table; end with 1 where a line does not hold."""

import importlib
import os
import sys
from pathlib import Path

from bench.table import Figure, render, save

AREAS = (
    "submissions",
    "batches",
    "reads",
    "runs",
    "copies",
    "footprint",
    "stager",
    "transfers",
    "objects",
    "engines",
    "commands",
    "callbacks",
    "streams",
    "waits",
    "listener",
)


CLUSTER_AREAS = ("pods", "fleet")
"""On a cluster, which KUBECONFIG names: `python -m bench cluster`."""


def main(named: list[str]) -> int:
    # What is installed has its bytecode; a checkout may be told to write none, and would compile at each start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path("build/bytecode").resolve())
    figures: list[Figure] = []
    on_cluster = named == ["cluster"]
    for area in CLUSTER_AREAS if on_cluster else named or AREAS:
        print(f"measuring {area} ...", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"bench.{area}").measure()
    print(render(figures))
    save(figures, Path("build/bench-cluster.json" if on_cluster else "build/bench.json"))
    return 0 if all(line.holds for line in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
