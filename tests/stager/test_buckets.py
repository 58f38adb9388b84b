"""Buckets of outputs are looked for when a task begins, so that nobody computes for one that is not there."""

import asyncio

import pytest
from msgspec.structs import replace

from fakes import web
from fakes.desk import Desk
from tesk.settings import S3Bucket
from tesk.stager.host import HostStager
from tesk.transfer import Deliver, TransferList, TransferReport


class Store(web.Files):
    """Has one bucket, `there`; of `secret` it says nothing to anybody, and takes files into both."""

    def do_HEAD(self) -> None:
        bucket = self.path.strip("/")
        self.server.requests.append({"path": self.path})
        self.plain({"there": 200, "secret": 403}.get(bucket, 404))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path.split("/")[1] in {"there", "secret"}
        said = b"" if known else b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def begin(desk: Desk, *urls: str) -> TransferReport:
    """Do what is done before the executors of a task without inputs."""
    outputs = tuple(Deliver(index=index, path=f"/out/{index}", url=url) for index, url in enumerate(urls))
    stager = HostStager(desk.settings)
    try:
        return asyncio.run(stager.fetch(TransferList(caller="me", outputs=outputs), desk.root, None))
    finally:
        stager.close()


def opened(desk: Desk, endpoint: str, **more: int) -> None:
    desk.settings = replace(desk.settings, s3=(S3Bucket(endpoint=endpoint),), **more)


def test_an_output_for_a_bucket_that_is_not_there_ends_a_task_before_its_executors(desk: Desk) -> None:
    with web.serve(Store) as server:
        opened(desk, server.url)
        report = begin(desk, "s3://there/a", "s3://there/b", "s3://nowhere/c")
        assert report.error == "outputs[2].url: s3://nowhere/c: there is no bucket nowhere"
        assert not report.retry
        assert sorted(each["path"] for each in server.requests) == ["/nowhere/", "/there/"], "each is asked for once"


@pytest.mark.parametrize("bucket", ["there", "secret"])
def test_a_bucket_that_is_there_or_of_which_nobody_speaks_keeps_nothing(desk: Desk, bucket: str) -> None:
    with web.serve(Store) as server:
        opened(desk, server.url)
        assert begin(desk, f"s3://{bucket}/a").error is None


def test_a_server_of_buckets_that_is_away_is_tried_again_before_anybody_computes(desk: Desk) -> None:
    with web.serve(Store) as server:
        gone = server.url
    opened(desk, gone, tries=1)
    report = begin(desk, "s3://there/a")
    assert report.error is not None
    assert report.error.startswith("outputs[0].url: s3://there/a: ")
    assert report.retry


def test_a_bucket_that_went_away_meanwhile_is_no_reason_to_compute_again(desk: Desk) -> None:
    with web.serve(Store) as server:
        opened(desk, server.url)
        desk.plant(desk.root / "out/x")
        report = desk.deliver(Deliver(index=0, path="/out/x", url="s3://nowhere/x"))
    assert report.error is not None
    assert "there is no bucket nowhere" in report.error
    assert not report.retry
