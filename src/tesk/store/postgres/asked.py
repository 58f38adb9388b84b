"""From values to the arrays that a statement takes for a whole batch. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from tesk.store import shape
from tesk.store.pairs import pack, pair_hashes
from tesk.store.rows import Lease, Move, NewTask
from tesk.store.sql import Parameters
from tesk.tes.state import TERMINAL, State

_IDS = 250
"""How many ids fit into one notification of PostgreSQL."""


class Begun(NamedTuple):
    """A start that is asked for."""

    lease: Lease
    task_id: str
    time: float


class Moved(NamedTuple):
    """A move that is asked for."""

    lease: Lease
    move: Move


def payloads(kind: str, ids: Sequence[str]) -> list[str]:
    """Return what all servers are told: which tasks have changed, by C; by W where there is work; by S if more follows soon."""
    return [" ".join((kind, *ids[start : start + _IDS])) for start in range(0, len(ids), _IDS)]


def creates(news: Sequence[NewTask]) -> Parameters:
    """Return the parameters of CREATE."""
    hashes = [pair_hashes(new.owner, new.tags) for new in news]
    tags = sorted((pair, new.id) for new, own in zip(news, hashes, strict=True) for pair in own)
    return {
        "ids": [new.id for new in news],
        "owners": [new.owner for new in news],
        "created": [new.created for new in news],
        "cpu_cores": [new.cpu_cores for new in news],
        "ram_bytes": [new.ram_bytes for new in news],
        "disk_bytes": [new.disk_bytes for new in news],
        "gpus": [new.gpus for new in news],
        "names": [shape.searchable(new.name) for new in news],
        "bodies": [new.body for new in news],
        "extensions": [shape.extension_json(new) for new in news],
        "packed": [pack(own) for own in hashes],
        "lanes": [None if new.callback is None else new.callback.lane for new in news],
        "urls": [None if new.callback is None else new.callback.url for new in news],
        "pairs": [pair for pair, _ in tags],
        "tagged": [task_id for _, task_id in tags],
    }


def begins(begun: Sequence[Begun]) -> Parameters:
    """Return the parameters of BEGIN."""
    ids = [one.task_id for one in begun]
    return {
        "ids": ids,
        "leases": [one.lease.id for one in begun],
        "places": [one.lease.place for one in begun],
        "times": [one.time for one in begun],
        "texts": [shape.time_text(one.time) for one in begun],
        "payloads": payloads("S", ids),
    }


def moves(moved: Sequence[Moved]) -> Parameters:
    """Return the parameters of MOVE."""
    of = [one.move for one in moved]
    logs = [
        (move.task_id, executor, *shape.executor_row(log))
        for move in of
        for executor, log in enumerate(move.results.executor_logs or ())
    ]
    return {
        "ids": [move.task_id for move in of],
        "leases": [one.lease.id for one in moved],
        "attempts": [move.attempt for move in of],
        "olds": [move.old.value for move in of],
        "vias": [move.via and move.via.value for move in of],
        "news": [move.new.value for move in of],
        "times": [move.time for move in of],
        "ends": [move.new in TERMINAL for move in of],
        "dues": [move.due for move in of],
        "failures": [int(move.counts and move.new is State.QUEUED) for move in of],
        "notes": [shape.notes_json(move.results.notes) for move in of],
        "metadata": [shape.metadata_json(move.results) for move in of],
        "start_times": [shape.time_text(move.results.start_time) for move in of],
        "end_times": [shape.time_text(move.results.end_time) for move in of],
        "outputs": [shape.outputs_json(move.results) for move in of],
        "bodies": [move.results.body for move in of],
        "executors": [None if (own := move.results.executor_logs) is None else len(own) for move in of],
        "log_ids": [log[0] for log in logs],
        "log_executors": [log[1] for log in logs],
        "logs": [log[2] for log in logs],
        "stdouts": [log[3] for log in logs],
        "stderrs": [log[4] for log in logs],
        "payloads": payloads(
            "W" if any(move.new is State.QUEUED for move in of) else "C", [move.task_id for move in of]
        ),
    }
