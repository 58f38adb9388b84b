"""An attempt's report: whole where it fits, cut where it does not, and never half of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from fakes.pod import ATTEMPT, UID
from tesk.pod import REPORT_BYTES, SUMMARY_BYTES, AttemptReport, ExecutorEnd
from tesk.pod_report import line, read_report, room, summary
from tesk.tes.task import FileType
from tesk.transfer import Moved, TransferReport

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
long = st.builds(lambda words, times: words * times, text, st.integers(1, 200))
moved = st.builds(Moved, index=st.integers(0, 9), url=long, path=long, size_bytes=st.integers(0, 1 << 50))
transfers = st.builds(
    TransferReport,
    files=st.lists(moved, max_size=5).map(tuple),
    types=st.dictionaries(st.integers(0, 1000), st.sampled_from(FileType), max_size=300),
    warnings=st.lists(long, max_size=20).map(tuple),
    error=st.none() | long,
    retry=st.booleans(),
    size_bytes=st.integers(0, 1 << 50),
    seconds=st.floats(0, 1e6),
)
ends = st.builds(
    ExecutorEnd,
    index=st.just(0),
    exit_code=st.none() | st.integers(0, 255),
    started=st.none() | st.floats(0, 1e10),
    ended=st.none() | st.floats(0, 1e10),
    stdout=long,
    stderr=long,
    error=st.none() | long,
    killed=st.booleans(),
)
reports = st.builds(
    AttemptReport,
    pod=st.just(UID),
    attempt=st.just(ATTEMPT),
    inputs=st.none() | transfers,
    executors=st.lists(ends, max_size=200).map(lambda some: numbered(*some)),
    outputs=st.none() | transfers,
    error=st.none() | long,
)


def numbered(*some: ExecutorEnd) -> tuple[ExecutorEnd, ...]:
    return tuple(
        ExecutorEnd(
            index=index,
            exit_code=end.exit_code,
            started=end.started,
            ended=end.ended,
            stdout=end.stdout,
            stderr=end.stderr,
            error=end.error,
            killed=end.killed,
        )
        for index, end in enumerate(some)
    )


@settings(max_examples=200, deadline=None)
@given(reports, st.integers(256, SUMMARY_BYTES))
def test_a_summary_fits_can_be_read_and_never_lies(report: AttemptReport, limit: int) -> None:
    short = summary(report, limit)
    assert len(short) <= limit
    short.decode()
    read = read_report(short)
    assert read is not None
    assert (read.pod, read.attempt) == (UID, ATTEMPT)
    assert read == report or read.cut
    codes = {end.index: (end.exit_code, end.killed) for end in report.executors}
    for end in read.executors:
        assert codes[end.index] == (end.exit_code, end.killed)
    if read.executors:
        assert read.executors[-1].index == report.executors[-1].index


@settings(max_examples=50, deadline=None)
@given(reports)
def test_a_line_is_one_line_and_comes_back_as_it_was(report: AttemptReport) -> None:
    told = line(report)
    assert b"\n" not in told
    assert read_report(told) == report


def test_ten_thousand_outputs_and_a_megabyte_of_tails_come_back_as_they_were() -> None:
    chance = random.Random(1)
    report = _report(files=10_000, tail="".join(chance.choices("abcdefghij \n", k=500_000)))
    told = line(report)
    assert len(told) < REPORT_BYTES / 4
    assert read_report(told) == report


def test_a_report_that_is_far_too_large_is_cut_until_it_fits() -> None:
    report = _report(files=3, tail=random.Random(1).randbytes(8 << 20).hex())
    told = line(report)
    assert len(told) <= REPORT_BYTES
    read = read_report(told)
    assert read is not None
    assert read.cut
    assert read.outputs == report.outputs
    assert report.executors[0].stdout.endswith(read.executors[0].stdout)
    assert len(read.executors[0].stdout) == 65536


def test_files_go_before_the_ends_of_executors_do() -> None:
    report = _report(files=10_000, tail="some words")
    short = read_report(summary(report))
    assert short is not None
    assert short.outputs is not None
    assert [end.exit_code for end in short.executors] == [0, 1]
    assert short.outputs.size_bytes == report.outputs.size_bytes if report.outputs else False


def test_all_exit_codes_are_kept_where_most_are_zero() -> None:
    ended = [ExecutorEnd(index=0, exit_code=0, started=1.5, ended=2.5, stdout="some words\n" * 100)] * 2000
    ended[1000] = ExecutorEnd(index=0, exit_code=7)
    ended[-1] = ExecutorEnd(index=0, killed=True)
    report = AttemptReport(pod=UID, attempt=ATTEMPT, executors=numbered(*ended))
    read = read_report(summary(report, 512))
    assert read is not None
    assert [(end.exit_code, end.killed) for end in read.executors] == [
        (end.exit_code, end.killed) for end in report.executors
    ]


def test_a_sentence_that_is_too_long_keeps_its_beginning_and_its_end() -> None:
    error = "s3://bucket/key: " + "x" * 10_000 + ": access denied"
    read = read_report(summary(AttemptReport(pod=UID, attempt=ATTEMPT, error=error)))
    assert read is not None
    assert read.error is not None
    assert read.error.startswith("s3://bucket/key: ")
    assert read.error.endswith(": access denied")


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"tesk":"progress/1","direction":"inputs","files":1}',
        b'{"tesk":"attempt/2","pod":"x","attempt":"y"}',
        b'{"tesk":"attempt/1+zlib","data":"!"}',
        b'{"tesk":"attempt/1+zlib","data":"eJw="}',
        b'{"tesk":"attempt/1+zlib","data":"QUFBQQ=="}',
        b'{"tesk":"attempt/1","pod":"\xff","attempt":"y"}',
        json.encode(AttemptReport(pod=UID, attempt=ATTEMPT))[:-3],
    ],
)
def test_what_is_no_report_is_none(words: bytes) -> None:
    assert read_report(words) is None


def test_the_kubelet_divides_the_room_for_summaries_among_all_containers() -> None:
    assert room(1) == 2048
    assert room(10) == 819
    assert room(1, 3) == 3072
    # The kubelet gives each of them this much; ours, three injected, and one that came later.
    assert room(1, 6) <= 12288 // 7
    assert room(1, 1) == 4096


def _report(files: int, tail: str) -> AttemptReport:
    return AttemptReport(
        pod=UID,
        attempt=ATTEMPT,
        inputs=TransferReport(),
        executors=numbered(
            ExecutorEnd(index=0, exit_code=0, started=1.0, ended=2.0, stdout=tail),
            ExecutorEnd(index=1, exit_code=1, started=1.0, ended=2.0, stderr=tail, error="some reason"),
        ),
        outputs=TransferReport(
            files=tuple(
                Moved(index=0, url=f"s3://some-bucket/a/folder/{n}.txt", path=f"/data/out/{n}.txt", size_bytes=n)
                for n in range(files)
            ),
            size_bytes=sum(range(files)),
        ),
    )


def test_json_without_a_bottom_is_no_report() -> None:
    assert read_report(b'{"tesk":"attempt/1","more":' + b"[" * 100_000) is None
