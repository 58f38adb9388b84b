"""Count what happens, and print it as Prometheus reads it. No library: one costs as much start and memory as the rest."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})

_WAITING = {
    "pending": "Callbacks that wait to be sent.",
    "failed": "Callbacks that were given up.",
    "oldest_seconds": "Seconds for which the listener that waits longest has heard nothing.",
}

_Labels = tuple[str, ...]


class Counter:
    """Counts by labels."""

    kind = "counter"

    def __init__(self, name: str, says: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.says = says
        self._labels = labels
        self._values: dict[_Labels, float] = {} if labels else {(): 0.0}

    def add(self, labels: _Labels = (), amount: float = 1.0) -> None:
        """Count."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def lines(self) -> Iterable[str]:
        """Yield the samples."""
        for labels, value in sorted(self._values.items()):
            yield f"{self.name}{_braces(self._labels, labels)} {value:g}"


class Histogram:
    """Counts values into buckets, by labels."""

    kind = "histogram"

    def __init__(self, name: str, says: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name = name
        self.says = says
        self._bounds = bounds
        self._labels = labels
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, value: float, labels: _Labels = ()) -> None:
        """Count one value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def lines(self) -> Iterable[str]:
        """Yield the samples."""
        names = (*self._labels, "le")
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip([*(f"{bound:g}" for bound in self._bounds), "+Inf"], counts, strict=True):
                total += count
                yield f"{self.name}_bucket{_braces(names, (*labels, bound))} {total}"
            yield f"{self.name}_sum{_braces(self._labels, labels)} {self._sums[labels]:.9g}"
            yield f"{self.name}_count{_braces(self._labels, labels)} {total}"


class Metrics:
    """Everything that `/metrics` shows. Safe from any thread; labels never hold what a client chose."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = Counter("tesk_http_requests_total", "Requests answered.", ("route", "method", "code"))
        self._seconds = Histogram(
            "tesk_http_request_duration_seconds",
            "Time to the answer, waits included; of a stream to its begin.",
            _QUICK,
            ("route",),
        )
        self._submissions = Counter("tesk_submissions_total", "Tasks stored.")
        self._queued = Histogram("tesk_task_queued_seconds", "From creation to the first start.", _LONG)
        self._ran = Histogram("tesk_task_run_seconds", "From the start of an attempt to its end.", _LONG, ("state",))
        self._batches = Histogram("tesk_store_commit_changes", "Changes that shared a commit.", _SIZES)
        self._callbacks = Counter("tesk_callbacks_total", "Callbacks sent, by what became of them.", ("status",))
        self._callback_seconds = Histogram("tesk_callback_duration_seconds", "Time to a listener's answer.", _QUICK)
        self._dropped = Counter("tesk_event_streams_dropped_total", "Streams of events that nobody read.", ())
        self._held: Callable[[], int] = lambda: 0
        self._following: Callable[[], int] = lambda: 0

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Tell of a request that was answered."""
        method = method if method in _METHODS else "other"
        with self._lock:
            self._requests.add((route, method, str(code)))
            self._seconds.observe(seconds, (route,))

    def submitted(self, tasks: int = 1) -> None:
        """Tell of tasks that were stored."""
        with self._lock:
            self._submissions.add((), tasks)

    def committed(self, changes: int) -> None:
        """Tell of a batch of changes that shared a commit."""
        with self._lock:
            self._batches.observe(changes)

    def started(self, waited_seconds: float) -> None:
        """Tell of a task's first attempt, and how long the task had been in QUEUED."""
        with self._lock:
            self._queued.observe(waited_seconds)

    def ended(self, state: str, ran_seconds: float) -> None:
        """Tell of the end of an attempt, in which state it left the task, and how long it had run."""
        with self._lock:
            self._ran.observe(ran_seconds, (state,))

    def called(self, status: str, seconds: float) -> None:
        """Tell of a callback that was sent: delivered, pending (to be tried again), failed or ended."""
        with self._lock:
            self._callbacks.add((status,))
            self._callback_seconds.observe(seconds)

    def dropped(self) -> None:
        """Tell of a stream of events whose client did not take it."""
        with self._lock:
            self._dropped.add(())

    def follows(self, following: Callable[[], int]) -> None:
        """Tell who is to be asked how many streams of events are open."""
        self._following = following

    def holds(self, held: Callable[[], int]) -> None:
        """Tell who is to be asked how many tasks this server holds."""
        self._held = held

    def text(self, tasks: Mapping[str, int], version: str, waiting: Mapping[str, float] | None = None) -> str:
        """Return all of it, with how many tasks are in each state, in the text format of Prometheus.

        `waiting`: of callbacks, how many are `pending` and `failed`, and the `oldest_seconds`.
        """
        lines: list[str] = []
        with self._lock:
            for each in (
                self._requests,
                self._seconds,
                self._submissions,
                self._queued,
                self._ran,
                self._batches,
                self._callbacks,
                self._callback_seconds,
                self._dropped,
            ):
                lines += [f"# HELP {each.name} {each.says}", f"# TYPE {each.name} {each.kind}", *each.lines()]
        lines += ["# HELP tesk_tasks Tasks that have not ended.", "# TYPE tesk_tasks gauge"]
        lines += [f"tesk_tasks{_braces(('state',), (state,))} {count}" for state, count in sorted(tasks.items())]
        for name, says in _WAITING.items():
            if waiting and name in waiting:
                own = f"tesk_callbacks_{name}"
                lines += [f"# HELP {own} {says}", f"# TYPE {own} gauge", f"{own} {waiting[name]:g}"]
        lines += ["# HELP tesk_tasks_held Tasks that this server holds, and has read.", "# TYPE tesk_tasks_held gauge"]
        lines += [f"tesk_tasks_held {self._held()}"]
        lines += ["# HELP tesk_event_streams Streams of events that are open.", "# TYPE tesk_event_streams gauge"]
        lines += [f"tesk_event_streams {self._following()}"]
        lines += ["# HELP tesk_info The version of the server.", "# TYPE tesk_info gauge"]
        lines += [f"tesk_info{_braces(('version',), (version,))} 1", ""]
        return "\n".join(lines)


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{value}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"
