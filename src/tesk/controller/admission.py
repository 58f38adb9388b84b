"""Choose which of the waiting tasks start now. Pure.

In order of age, with backfill that never delays the head: nobody knows how long a task will run, so a younger task may
pass the oldest that does not fit (the head) only if the head could start at the very same moment even though the younger
one runs for ever, in whatever order the running ones end. See docs/decisions/admission.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from tesk.compute.backend import Capacity
from tesk.compute.plan import GPU_COUNT, gpus_of
from tesk.store.rows import ENDLESS, Claimed, Room, Waiting

_SUMS_LIMIT = 2_000
"""How many sums of sizes are looked at for the head's room; beyond that there is none, which is always safe."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a task takes while it has an attempt. Thousandths of a core (so that sums are exact), bytes, bytes, GPUs."""

    cpu_millicores: int
    ram_bytes: int
    disk_bytes: int
    gpus: int = 0

    def __add__(self, other: "Need") -> "Need":
        return Need(
            self.cpu_millicores + other.cpu_millicores,
            self.ram_bytes + other.ram_bytes,
            self.disk_bytes + other.disk_bytes,
            self.gpus + other.gpus,
        )

    def __sub__(self, other: "Need") -> "Need":
        return Need(
            self.cpu_millicores - other.cpu_millicores,
            self.ram_bytes - other.ram_bytes,
            self.disk_bytes - other.disk_bytes,
            self.gpus - other.gpus,
        )

    def within(self, room: "Need") -> bool:
        """Say whether this is no more than `room` in every way."""
        return (
            self.cpu_millicores <= room.cpu_millicores
            and self.ram_bytes <= room.ram_bytes
            and self.disk_bytes <= room.disk_bytes
            and self.gpus <= room.gpus
        )


def need(task: Waiting | Claimed | Capacity | Room) -> Need:
    """Return what a task asks for or holds, or what a backend or another server has."""
    gpus = gpus_of(task.task) if isinstance(task, Claimed) else task.gpus
    return Need(round(task.cpu_cores * 1000), task.ram_bytes, task.disk_bytes, gpus)


def room(capacity: Capacity | None) -> Room:
    """Return what other servers are told of a backend."""
    if capacity is None:
        return ENDLESS
    return Room(
        cpu_cores=capacity.cpu_cores,
        ram_bytes=capacity.ram_bytes,
        disk_bytes=capacity.disk_bytes,
        gpus=capacity.gpus,
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """A task that can never start here, with the sentence that says why."""

    task: Waiting
    note: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What one look came to. What is in neither list waits."""

    start: tuple[Waiting, ...]
    refuse: tuple[Refused, ...]


def admit(
    waiting: Iterable[Waiting], running: Sequence[Need], capacity: Capacity | None, most: int | None = None
) -> Admission:
    """Choose from `waiting`, oldest first, beside what is `running`, within `capacity` (None: the backend queues by itself).

    `most`: no more than so many start where the backend queues by itself.
    """
    if capacity is None:
        return Admission(tuple(islice(waiting, most)), ())
    total = need(capacity)
    free = total - _sum(running)
    start: list[Waiting] = []
    refuse: list[Refused] = []
    room: Need | None = None
    for task in waiting:
        asked = need(task)
        if not asked.within(total):
            refuse.append(Refused(task, _too_large(task, capacity)))
        elif not asked.within(free):
            if room is None:
                room = _beside(asked, [*running, *(need(started) for started in start)], total)
        elif room is None or asked.within(room):
            start.append(task)
            free -= asked
            room = None if room is None else room - asked
    return Admission(tuple(start), tuple(refuse))


def too_large(waiting: Iterable[Waiting], capacity: Capacity) -> tuple[Refused, ...]:
    """Return those of `waiting` that can never start within `capacity`, whatever else runs."""
    total = need(capacity)
    # Thousands may come at once, and nearly all fit: these are seen without making sums of anything.
    doubtful = (
        task
        for task in waiting
        if task.cpu_cores > capacity.cpu_cores
        or task.ram_bytes > capacity.ram_bytes
        or task.disk_bytes > capacity.disk_bytes
        or task.gpus > capacity.gpus
    )
    return tuple(Refused(task, _too_large(task, capacity)) for task in doubtful if not need(task).within(total))


def nobodys(refused: Iterable[Refused], others: Sequence[Room]) -> list[Refused]:
    """Return those that no other server could hold either: for them a refusal is final."""
    return [
        each for each in refused if not any(other == ENDLESS or need(each.task).within(need(other)) for other in others)
    ]


def _sum(needs: Sequence[Need]) -> Need:
    # A value for each step would be as dear as all the rest of a look.
    return Need(
        sum(each.cpu_millicores for each in needs),
        sum(each.ram_bytes for each in needs),
        sum(each.disk_bytes for each in needs),
        sum(each.gpus for each in needs),
    )


def _beside(head: Need, running: Sequence[Need], total: Need) -> Need:
    """Return what others may take for ever without ever being in the head's way."""
    return Need(
        _room(total.cpu_millicores - head.cpu_millicores, [taken.cpu_millicores for taken in running]),
        _room(total.ram_bytes - head.ram_bytes, [taken.ram_bytes for taken in running]),
        _room(total.disk_bytes - head.disk_bytes, [taken.disk_bytes for taken in running]),
        _room(total.gpus - head.gpus, [taken.gpus for taken in running]),
    )


def _room(limit: int, sizes: Sequence[int]) -> int:
    """Return what is left of `limit` by the subset of `sizes` that fills it best.

    Whichever of the running ones are still there when the head could start, they fill no more than that subset does.
    """
    everything = sum(sizes)
    if everything <= limit:
        return limit - everything
    sums = {0}
    for size in sizes:
        if size:
            sums |= {filled + size for filled in sums if filled + size <= limit}
        if limit in sums or len(sums) > _SUMS_LIMIT:
            return 0
    return limit - max(sums)


def _too_large(task: Waiting, capacity: Capacity) -> str:
    asked: list[str] = []
    there: list[str] = []
    for name, wanted, has in (
        ("cpu_cores", task.cpu_cores, capacity.cpu_cores),
        ("ram_gb", task.ram_bytes / 1e9, capacity.ram_bytes / 1e9),
        ("disk_gb", task.disk_bytes / 1e9, capacity.disk_bytes / 1e9),
        (GPU_COUNT, task.gpus, capacity.gpus),
    ):
        if round(wanted * 1000) > round(has * 1000) or wanted > has:
            asked.append(f"{name} {wanted:.6g}")
            there.append(f"{name} {has:.6g}")
    return f"Can never run here: it asks for {', '.join(asked)} and this server has {', '.join(there)} in all"
