"""S3 over a poor line: a real server, and somebody between who spoils what it says."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

import seaweed
from fakes import web
from fakes.between import Between, Broken, between
from fakes.worlds_objects import s3_scheme, weed
from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.objects import parts, s3
from tesk.storage.objects.checksum import checksum_of
from tesk.storage.objects.s3 import S3Scheme, _page

MIB = 1024 * 1024
LARGE = os.urandom(70 * MIB + 1)  # three parts in, five parts out


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def source() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(LARGE)
        file.flush()
        yield file.fileno()


@pytest.fixture(autouse=True)
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this machine for one that is far away, which is asked for several parts at once."""
    monkeypatch.setattr(parts, "_NEAR", 8)


class Line:
    """A scheme that calls a real server through somebody between."""

    def __init__(self, server: seaweed.Server, middle: Between, scheme: S3Scheme) -> None:
        self.server = server
        self.between = middle
        self.scheme = scheme
        self.bucket = server.new_bucket()
        self.told = 0

    def url(self, key: str = "x") -> str:
        return f"s3://{self.bucket}/{key}"

    def advance(self, size_bytes: int) -> None:
        self.told += size_bytes

    def uploads(self) -> int:
        """How many uploads in parts are there that are not complete."""
        with self.scheme._place(self.url())[1].ask("GET", query={"uploads": ""}) as answer:
            return len(re.findall(b"<UploadId>", answer.read_at_most(MIB)))


@pytest.fixture
def line() -> Iterator[Line]:
    server = weed()
    with between(server.url) as middle, s3_scheme(middle.url, tries=5) as scheme:
        yield Line(server, middle, scheme)


FAULTS = {
    "slow down": Broken(busy=True),
    "cut at once": Broken(cut=0),
    "cut at 10 %": Broken(cut=3 * MIB),
    "cut at 99 %": Broken(cut=31 * MIB),
    "no answer": Broken(lost=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_large_object_arrives_whole_in_spite_of(fault: str, line: Line, target: int) -> None:
    line.server.plant(line.bucket, "x", LARGE)
    line.between.break_first(3, FAULTS[fault], method="GET", word="/x")
    assert line.scheme.get(line.url(), target, line.advance).size_bytes == len(LARGE) == line.told
    assert os.pread(target, len(LARGE) + 1, 0) == LARGE


@pytest.mark.parametrize("fault", ["slow down", "no answer"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_large_object_is_stored_whole_in_spite_of(fault: str, method: str, line: Line, source: int) -> None:
    line.between.break_first(3, FAULTS[fault], method=method, word="/x")
    assert line.scheme.put(source, line.url(), line.advance).size_bytes == len(LARGE) == line.told
    assert line.server.stored(line.bucket, "x") == LARGE


def test_an_upload_whose_end_was_not_heard_of_is_known_to_be_done(line: Line, source: int) -> None:
    line.between.break_first(1, Broken(lost=True), method="POST", word="uploadId")
    line.scheme.put(source, line.url(), line.advance)
    assert line.server.stored(line.bucket, "x") == LARGE
    assert line.uploads() == 0


def test_to_see_whether_an_upload_is_done_takes_no_second_connection(source: int) -> None:
    server = weed()
    with between(server.url) as middle, s3_scheme(middle.url, tries=5, connections_per_host=1) as scheme:
        line = Line(server, middle, scheme)
        middle.break_first(1, Broken(lost=True), method="POST", word="uploadId")
        storing = threading.Thread(target=scheme.put, args=(source, line.url(), line.advance), daemon=True)
        storing.start()
        storing.join(60)
        assert not storing.is_alive(), "it waits for itself"
        assert server.stored(line.bucket, "x") == LARGE


def test_a_server_that_stays_busy_is_given_up_in_words(line: Line, target: int) -> None:
    line.between.break_first(99, Broken(busy=True))
    with pytest.raises(
        TransferFailed, match=r"s3://test-\d+/x: the server answers 503 .*\(SlowDown: .*\); tried 5 times"
    ):
        line.scheme.get(line.url(), target, line.advance)


@pytest.mark.parametrize("value", ["\u00e9", "abc", "AAAA-7"])
def test_a_checksum_that_is_none_is_no_fault_of_ours(value: str) -> None:
    assert checksum_of(lambda name: value if name == "x-amz-checksum-crc32" else "") is None


def test_a_wrong_checksum_is_tried_again(line: Line, target: int) -> None:
    line.server.plant(line.bucket, "x", b"data" * 1000)
    line.between.break_first(1, Broken(flipped=True), method="GET")
    line.scheme.get(line.url(), target, line.advance)
    assert os.pread(target, 5000, 0) == b"data" * 1000


def test_a_checksum_that_stays_wrong_is_said_with_what_was_expected(line: Line, target: int) -> None:
    line.server.plant(line.bucket, "x", b"data")
    line.between.break_first(99, Broken(flipped=True), method="GET")
    with pytest.raises(
        TransferFailed,
        match=r"its MD5 is [0-9a-f]{32}, but the server says 8d777f385d3dfec8815d20f7496026dc; tried 5 times",
    ):
        line.scheme.get(line.url(), target, line.advance)


@pytest.mark.parametrize("size", [9, MIB])
@pytest.mark.parametrize(
    ("name", "digits"), [("crc64nvme", 16), ("crc32c", 8), ("crc32", 8), ("sha256", 64), ("sha1", 40)]
)
def test_every_checksum_that_covers_the_object_is_verified(
    name: str, digits: int, size: int, line: Line, target: int
) -> None:
    data = (b"123456789" * size)[:size]
    known = {  # of b"123456789", as catalogues of CRCs have them
        "crc64nvme": "ae8b14860a799888",
        "crc32c": "e3069283",
        "crc32": "cbf43926",
        "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    }
    line.server.plant(line.bucket, "x", data)
    header = f"x-amz-checksum-{name}"
    line.between.adds = {header: b64encode(bytes(digits // 2)).decode()}
    with pytest.raises(
        TransferFailed, match=rf"its .* is ([0-9a-f]{{{digits}}}), but the server says 0{{{digits}}};"
    ) as failed:
        line.scheme.get(line.url(), target, line.advance)
    if size == 9:
        assert known[name] in str(failed.value)
        line.between.adds[header] = b64encode(bytes.fromhex(known[name])).decode()
    else:
        line.between.adds |= {
            header: "AAAAAA==",
            "x-amz-checksum-type": "COMPOSITE",
        }  # of the parts: not to be believed
    line.scheme.get(line.url(), target, line.advance)
    assert os.pread(target, size + 1, 0) == data


def test_two_versions_of_an_object_are_never_mixed(line: Line, target: int) -> None:
    other = bytes(len(LARGE))
    line.server.plant(line.bucket, "x", LARGE)
    line.between.break_first(1, Broken(cut=MIB), method="GET")
    broken = line.between.breaks

    def change(method: str, path: str) -> Broken | None:
        found = broken(method, path)
        if found is not None:
            line.server.plant(line.bucket, "x", other)
        return found

    line.between.breaks = change
    line.scheme.get(line.url(), target, line.advance)
    assert os.pread(target, len(LARGE) + 1, 0) == other


@pytest.mark.parametrize("after_bytes", [0, 20 * MIB, len(LARGE) - 1])
def test_an_upload_that_is_stopped_leaves_neither_an_object_nor_parts(
    after_bytes: int, line: Line, source: int
) -> None:
    def stop(size_bytes: int) -> None:
        line.told += size_bytes
        if line.told > after_bytes:
            raise TransferFailed("stopped")

    with pytest.raises(TransferFailed, match="stopped"):
        line.scheme.put(source, line.url(), stop)
    assert line.server.stored(line.bucket, "x") is None
    assert line.uploads() == 0


def test_a_refused_upload_leaves_no_parts(line: Line, source: int) -> None:
    line.between.break_first(99, Broken(busy=True), method="PUT")
    with pytest.raises(TransferFailed, match="SlowDown"):
        line.scheme.put(source, line.url(), line.advance)
    assert line.uploads() == 0


def test_a_killed_uploader_leaves_nothing_that_can_be_read(line: Line, source: int) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from fakes.worlds_objects import s3_scheme\n"
        "def told(count):\n    print(count, flush=True)\n"
        "with s3_scheme(sys.argv[1]) as scheme:\n"
        "    scheme.put(0, sys.argv[2], told)\n"
    )
    held = line.between.breaks

    def never_complete(method: str, path: str) -> Broken | None:
        return Broken(busy=True) if method == "POST" and "uploadId" in path else held(method, path)

    line.between.breaks = never_complete
    process = subprocess.Popen(
        [sys.executable, "-c", code, line.between.url, line.url()],
        stdin=source,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    assert line.server.stored(line.bucket, "x") is None


def test_what_is_not_there_or_not_allowed_is_asked_for_once(line: Line, target: int) -> None:
    with pytest.raises(TransferRefused, match=r"there is no such file; the server answers 404 .*NoSuchKey"):
        line.scheme.get(line.url("nothing"), target, line.advance)
    with pytest.raises(TransferRefused, match="there is no bucket nowhere"):
        line.scheme.get("s3://nowhere/x", target, line.advance)
    assert len(line.between.asked) == 2


def test_a_long_listing_comes_in_pages(line: Line) -> None:
    for number in range(3):
        line.server.plant(line.bucket, f"top/{number}", b"")
    bucket = line.scheme._place(line.url())[1]
    page = _page(bucket, line.url(), "top/", most=2)
    rest = _page(bucket, line.url(), "top/", onward=page.onward)
    assert [one.key for one in (*page.objects, *rest.objects)] == ["top/0", "top/1", "top/2"]
    assert rest.onward == ""


def test_a_stream_goes_on_where_the_line_broke(line: Line) -> None:
    line.server.plant(line.bucket, "x", LARGE)
    line.between.break_first(2, Broken(cut=3 * MIB), method="GET", word="/x")
    given = bytearray()
    assert line.scheme.stream(line.url(), given.extend) == len(LARGE)
    assert given == LARGE
    assert len(line.between.asked) == 3


def test_a_stream_whose_source_changed_fails(line: Line) -> None:
    line.server.plant(line.bucket, "x", LARGE)
    line.between.break_first(1, Broken(cut=3 * MIB), method="GET", word="/x")

    def take(piece: bytes | memoryview) -> None:
        if len(line.between.asked) == 1:
            line.server.plant(line.bucket, "x", b"other")

    with pytest.raises(TransferFailed, match=r"it changed while it was read \(after \d+ bytes"):
        line.scheme.stream(line.url(), take)


class _Endless(web.Files):
    """Lists nothing, and says that there is more."""

    def do_GET(self) -> None:
        said = b"<R><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken></R>"
        self.headed(200, said)
        self.wfile.write(said)


def test_a_listing_of_nothing_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_EMPTY_PAGES", 20)
    with (
        web.serve(_Endless) as server,
        s3_scheme(server.url) as scheme,
        pytest.raises(TransferRefused, match=r"s3://bucket/x: the server lists nothing, and says without end"),
    ):
        list(scheme.list("s3://bucket/x"))
