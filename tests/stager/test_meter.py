"""What moves is told once a second, and summed up in a sentence."""

import threading

import pytest

from tesk.errors import TransferRefused
from tesk.stager.meter import Meter
from tesk.stager.parallel import Stop, each
from tesk.tes.amounts import amount
from tesk.transfer import Moved, Progress, TransferReport, summary


def test_how_far_a_transfer_is_is_told_while_it_moves() -> None:
    heard: list[Progress] = []
    again = threading.Event()

    def told(progress: Progress) -> None:
        heard.append(progress)
        again.set()

    def wait() -> None:
        again.clear()
        assert again.wait(20)

    meter = Meter("inputs", Stop(), limit_bytes=0)
    meter.expect([100, 50, 10])
    with meter.telling(told):
        with meter.one(100) as one:
            one.advance(60)
            one.advance(-60)  # the line broke
            one.advance(70)
            wait()
            one.advance(30)
            one.done(100)
        with meter.one(50) as broken:
            broken.advance(20)
        wait()
    first, *_, last = heard
    assert (first.direction, first.files, first.files_done) == ("inputs", 3, 0)
    assert (first.size_bytes, first.size_bytes_done) == (160, 70)
    assert 0 < first.bytes_per_second < 100
    assert 0.9 < first.seconds < last.seconds
    assert (last.files_done, last.size_bytes_done) == (1, 100), "what came to nothing does not count"


def test_sizes_that_no_source_says_leave_the_whole_open() -> None:
    heard: list[Progress] = []
    again = threading.Event()
    meter = Meter("outputs", Stop(), limit_bytes=0)
    meter.expect([1, None])
    with meter.telling(lambda progress: (heard.append(progress), again.set())), meter.one(None) as one:
        one.advance(7)
        assert again.wait(20)
    assert (heard[0].size_bytes, heard[0].size_bytes_done) == (None, 7)


def test_a_limit_holds_whatever_size_a_source_has_said() -> None:
    meter = Meter("inputs", Stop(), limit_bytes=1000)
    meter.expect([1])
    there = [0]
    with meter.one(1, lambda: there[0]) as liar:
        there[0] = 1000
        liar.advance(1000)
        there[0] = 1001
        with pytest.raises(TransferRefused, match="more than the 1 kB"):
            liar.advance(1)


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (65_536, "65.5 kB"),
        (999_700, "1 MB"),
        (3_100_000_000, "3.1 GB"),
        (1_200_000_000_000, "1.2 TB"),
    ],
)
def test_an_amount_is_short(size_bytes: int, words: str) -> None:
    assert amount(size_bytes) == words


def test_a_summary_says_what_came_from_somewhere() -> None:
    def file(size_bytes: int, url: str = "file:///x") -> Moved:
        return Moved(index=0, url=url, path="/x", size_bytes=size_bytes)

    twelve = TransferReport(files=(*[file(250_000_000)] * 12, file(5, "")), seconds=8.23)
    assert summary("inputs", twelve) == "inputs: 12 files, 3 GB in 8.2 s"
    assert summary("outputs", TransferReport(files=(file(5),), seconds=0.0123)) == "outputs: 1 file, 5 bytes in 12 ms"
    assert summary("inputs", TransferReport(files=(file(5, ""),))) is None
    assert summary("inputs", TransferReport()) is None


def test_large_files_move_first_and_not_too_many_at_once() -> None:
    gigabyte = 1024**3
    under_way: list[int] = []
    seen: list[tuple[int, ...]] = []
    lock = threading.Lock()

    def act(size: int) -> None:
        with lock:
            under_way.append(size)
            seen.append(tuple(under_way))
        with lock:
            under_way.remove(size)

    sizes = [1, 2, 3 * gigabyte, 9 * gigabyte, 3 * gigabyte, 2 * gigabyte]
    done, errors = each(act, sizes, threads=4, stop=Stop(), keep_going=False, size_bytes=lambda size: size)
    assert (len(done), errors) == (6, [])
    assert seen[0] == (9 * gigabyte,)
    assert all(sum(together) <= 4 * gigabyte or len(together) == 1 for together in seen)
