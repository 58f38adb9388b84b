"""Reads: one task and a full list per CPU second beside FOCA; a list by tag in a large store beside a small one."""

import json
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import servers, tasks
from bench.load import drive, request
from bench.submissions import PATH, busy, feed
from bench.table import Figure, in_turn

ROUNDS = 5
LISTS = 201


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        return [*_beside_foca(Path(name)), _by_tag(Path(name))]


def _beside_foca(folder: Path) -> list[Figure]:
    (folder / "reads").mkdir()
    with busy(folder / "reads") as server:
        body = tasks.encode(tasks.usual())
        drive(server.port, request("POST", PATH, server.port, body), seconds=1)
        page = _get(server.port, f"{PATH}?view=FULL&page_size=100")["tasks"]
        if len(page) != 100:
            raise RuntimeError("there are not 100 tasks to list")
        example = folder / "task.json"
        # FOCA answers with the very task that we answer with.
        example.write_text(json.dumps(page[0]))
        with servers.foca(folder, example) as foca:
            one = _per_cpu_second(server, foca, f"{PATH}/{page[0]['id']}?view=FULL")
            full = _per_cpu_second(server, foca, f"{PATH}?view=FULL&page_size=100")
    return [
        Figure("GET one task, beside FOCA", *one, ">=", 8.0),
        Figure("LIST 100 FULL, beside FOCA", *full, ">=", 40.0),
    ]


def _per_cpu_second(ours: servers.Server, peer: servers.Server, target: str) -> tuple[float, float, str, float]:
    def measured(server: servers.Server) -> float:
        before = server.cpu_seconds()
        load = drive(server.port, request("GET", target, server.port), connections=8)
        return load.requests / (server.cpu_seconds() - before)

    first, second, ratio = in_turn(lambda: measured(ours), lambda: measured(peer), ROUNDS)
    return first, second, "/CPU s", ratio


def _by_tag(folder: Path) -> Figure:
    small, large = folder / "small", folder / "large"
    for place, amount in ((small, 10_000), (large, 1_000_000)):
        (place / "data").mkdir(parents=True)
        feed(str(place / "data/tesk.db"), "fill", amount)
    # Lists are measured, not the start of a million tasks: all of them wait for one that sleeps on the only core.
    core = {"LOCAL_CPU_CORES": "1"}
    with servers.tesk(small, settings=core) as few, servers.tesk(large, settings=core) as many:
        for server in (few, many):
            _settle(server)
        runs = {few: 0, many: 200}  # in the large store one from the middle of its life

        def milliseconds(server: servers.Server) -> float:
            target = f"{PATH}?view=MINIMAL&page_size=2047&tag_key=run&tag_value={runs[server]}"
            begun = time.perf_counter()
            found = _get(server.port, target)["tasks"]
            spent = time.perf_counter() - begun
            if len(found) != 2047:
                raise RuntimeError("the list by tag is not full")
            return spent * 1000

        # One list each in turn, many times: what else the machine does meanwhile falls on both.
        ours, peer, ratio = in_turn(lambda: milliseconds(many), lambda: milliseconds(few), LISTS)
    return Figure("LIST 2,047 MINIMAL by tag, 1,000,000 tasks beside 10,000", ours, peer, "ms", ratio, "<=", 1.2)


def _settle(server: servers.Server) -> None:
    """Wait while the server looks at what it found at its start. Raises RuntimeError where that takes a minute."""
    for _ in range(60):
        before = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - before < 0.05:
            return
    raise RuntimeError("the server does not come to rest")


def _get(port: int, target: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=60) as answer:
        found: dict[str, list[dict[str, str]]] = json.load(answer)
    return found
