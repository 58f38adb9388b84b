"""Which of the settings' credentials travel with one task."""

import pytest

from tesk.errors import CannotRun, TransferRefused
from tesk.settings import (
    AzContainer,
    DrsHost,
    FileRoot,
    FtpCredential,
    GsBucket,
    HttpCredential,
    S3Bucket,
    StorageSettings,
    TrsHost,
)
from tesk.storage.needed import needed
from tesk.storage.objects.credentials import Profile
from tesk.transfer import Deliver, Fetch, TransferList

KEYS = {"access_key_id": "k", "secret_access_key": "s"}
ALL = StorageSettings(
    file_roots=(FileRoot(path="/home"),),
    http=(HttpCredential(host="a.org", token="t"), HttpCredential(host="b.org", token="t", callers=("bob",))),
    ftp=(FtpCredential(host="ftp.a.org", user="u"), FtpCredential(host="ftp.b.org", user="u")),
    s3=(
        S3Bucket(bucket="ours", callers=("bob",), **KEYS),
        S3Bucket(bucket="ours", callers=("alice", "carol"), **KEYS),
        S3Bucket(bucket="our*", endpoint="https://second", **KEYS),
        S3Bucket(bucket="theirs", **KEYS),
    ),
    gs=(GsBucket(bucket="goog"), GsBucket(bucket="other")),
    az=(AzContainer(account="mine", account_key="k"), AzContainer(account="yours", account_key="k")),
    drs=(DrsHost(host="drs.org", token="t"),),
    trs=(TrsHost(host="trs.org", token="t"),),
)


def for_urls(*urls: str, settings: StorageSettings = ALL, caller: str = "alice", **more: object) -> StorageSettings:
    inputs = tuple(Fetch(index=index, path=f"/d/{index}", url=url) for index, url in enumerate(urls))
    return needed(settings, TransferList(caller=caller, inputs=inputs), **{"web_identity": False} | more)


def test_a_task_without_urls_needs_no_credentials():
    pruned = for_urls()
    assert not any((pruned.http, pruned.ftp, pruned.s3, pruned.gs, pruned.az, pruned.drs, pruned.trs))


def test_a_pod_has_none_of_the_servers_files():
    pruned = for_urls()
    assert pruned.file_roots == ()
    assert "file" not in pruned.schemes
    assert "s3" in pruned.schemes


def test_of_buckets_the_entry_that_counts_travels():
    assert for_urls("s3://ours/key").s3 == (S3Bucket(bucket="ours", **KEYS),)
    assert [one.endpoint for one in for_urls("s3://ourselves/key").s3] == ["https://second"]


def test_entries_of_other_callers_and_their_names_stay():
    assert "carol" not in str(for_urls("s3://ours/key", "https://b.org/x"))
    assert [one.host for one in for_urls("https://x.org/x").http] == ["a.org"]


def test_outputs_count_as_well():
    transfers = TransferList(caller="alice", outputs=(Deliver(index=0, path="/o", url="ftp://ftp.b.org/o"),))
    assert [one.host for one in needed(ALL, transfers, web_identity=False).ftp] == ["ftp.b.org"]


def test_a_wrapped_url_counts_as_what_is_in_it():
    assert [one.bucket for one in for_urls("crypt4gh+s3://theirs/x.c4gh").s3] == ["theirs"]
    assert [one.account for one in for_urls("az://mine/c/k").az] == ["mine"]
    assert [one.bucket for one in for_urls("gs://goog/k").gs] == ["goog"]


def test_a_drs_server_may_send_us_anywhere_that_is_the_callers():
    pruned = for_urls("drs://drs.org/1")
    assert [one.host for one in pruned.drs] == ["drs.org"]
    assert len(pruned.s3) == 3
    assert [one.host for one in pruned.http] == ["a.org"]
    assert len(pruned.ftp) == len(pruned.gs) == len(pruned.az) == 2


# -- what names something of the server's -----------------------------------------------------------------------------------


def one_bucket(**more: object) -> StorageSettings:
    return StorageSettings(s3=(S3Bucket(bucket="ours", **more),))


def test_the_keys_of_a_profile_travel_in_its_place():
    said = Profile("id", "key", "", "eu", "https://here")
    (one,) = for_urls("s3://ours/k", settings=one_bucket(profile="lab"), profile=lambda name: said).s3
    assert (one.profile, one.access_key_id, one.secret_access_key) == ("", "id", "key")
    assert (one.region, one.endpoint) == ("eu", "https://here")


def test_a_profile_that_is_not_there_ends_the_task_with_a_sentence():
    def gone(name: str) -> Profile:
        raise TransferRefused(f"the profile {name} (setting storage.s3) has no keys")

    with pytest.raises(CannotRun, match=r"the profile lab .* has no keys\."):
        for_urls("s3://ours/k", settings=one_bucket(profile="lab"), profile=gone)


def test_the_role_of_a_machine_is_refused_and_what_helps_is_said():
    with pytest.raises(CannotRun, match=r"storage\.s3: the entry for 'ours' takes the role of a machine"):
        for_urls("s3://ours/k", settings=one_bucket(role="instance"))


def test_web_identity_wants_a_token():
    settings = one_bucket(role="web-identity")
    with pytest.raises(CannotRun, match=r"set kubernetes\.identity_audience"):
        for_urls("s3://ours/k", settings=settings)
    assert for_urls("s3://ours/k", settings=settings, web_identity=True).s3 == settings.s3


def test_a_key_file_travels_with_its_content():
    settings = StorageSettings(gs=(GsBucket(bucket="goog", service_account_file="/etc/key.json"),))
    (one,) = for_urls("gs://goog/k", settings=settings, read={"/etc/key.json": "{}"}.__getitem__).gs
    assert (one.service_account_file, one.service_account_key) == ("", "{}")


def test_credentials_of_the_servers_user_are_refused():
    settings = StorageSettings(gs=(GsBucket(bucket="goog", application_default=True),))
    with pytest.raises(
        CannotRun, match=r"storage\.gs: the entry for 'goog' takes the credentials of the server's user"
    ):
        for_urls("gs://goog/k", settings=settings)


def test_what_cannot_travel_is_no_matter_where_only_a_drs_server_might_want_it():
    assert for_urls("drs://drs.org/1", settings=one_bucket(role="instance")).s3 == ()
