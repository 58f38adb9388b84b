"""What a listener believes: a message signed with a key that it knows, a few minutes ago at most; and why not, in a sentence."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tesk.settings import CallbackKey
from tesk.signature import TOLERANCE_SECONDS, BadKey, Keys, Unverified, verify

NOW = 1_795_590_000.0
BODY = b'{"id":"t","state":"RUNNING"}'
YESTERDAYS, TODAYS = (f"whsec_{base64.b64encode(bytes([n] * 32)).decode()}" for n in (1, 2))
SECRET, PUBLIC = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
)


def signed(*secrets, at=NOW, webhook_id="t.3", body=BODY):
    keys = Keys([CallbackKey(secret=secret) for secret in secrets])
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": keys.sign("ann", "a.example", webhook_id, int(at), body),
    }


@pytest.mark.parametrize(("secret", "key"), [(TODAYS, TODAYS), (SECRET, PUBLIC), (SECRET, SECRET)])
def test_what_was_signed_now_is_believed_and_nothing_else_of_it_may_be_changed(secret, key):
    headers = signed(secret)
    assert verify([key], headers, BODY, now=NOW) == "t.3"
    for changed in (
        {"webhook-id": "t.4"},
        {"webhook-timestamp": str(int(NOW) + 1)},
        {"webhook-signature": headers["webhook-signature"][:-8] + "AAAAAAA="},
        {"webhook-signature": headers["webhook-signature"].replace("v1a,", "v1,").replace("v1,", "v2,")},
        {"webhook-signature": "v1, v1a, ,, v1,ä v1a,x v1"},
    ):
        with pytest.raises(Unverified, match="No signature fits"):
            verify([key], headers | changed, BODY, now=NOW)
    with pytest.raises(Unverified, match="No signature fits"):
        verify([key], headers, BODY + b" ", now=NOW)


def test_yesterdays_key_counts_while_it_is_known_and_not_after():
    headers = signed(YESTERDAYS)
    assert verify([TODAYS, YESTERDAYS], headers, BODY, now=NOW)
    with pytest.raises(Unverified, match="No signature fits"):
        verify([TODAYS], headers, BODY, now=NOW)
    # A sender that changes its key signs with both.
    assert verify([TODAYS], signed(YESTERDAYS, TODAYS), BODY, now=NOW)


@pytest.mark.parametrize(
    ("away", "why"),
    [(86_400, "far in the future"), (301, "far in the future"), (-301, "too old"), (-86_400, "too old")],
)
def test_a_replayed_body_and_tomorrows_are_not_believed_though_the_signature_fits(away, why):
    with pytest.raises(Unverified, match=why):
        verify([TODAYS], signed(TODAYS, at=NOW + away), BODY, now=NOW)


@pytest.mark.parametrize("away", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_clocks_may_differ_by_five_minutes_and_a_message_of_these_is_known_again_by_its_id(away):
    headers = signed(TODAYS, at=NOW + away)
    assert verify([TODAYS], headers, BODY, now=NOW) == verify([TODAYS], headers, BODY, now=NOW) == "t.3"
    assert verify([TODAYS], signed(TODAYS, at=NOW - 900), BODY, now=NOW, tolerance_seconds=900)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_is_named(name):
    headers = signed(TODAYS)
    del headers[name]
    with pytest.raises(Unverified, match=f"The header {name} is missing"):
        verify([TODAYS], headers, BODY, now=NOW)


@pytest.mark.parametrize("stamp", ["now", "-1", "1.5", "١٢٣", "9" * 400, " 1"])
def test_a_time_stamp_that_is_no_number_is_said_so(stamp):
    with pytest.raises(Unverified, match="no number of seconds"):
        verify([TODAYS], signed(TODAYS) | {"webhook-timestamp": stamp}, BODY, now=NOW)


@pytest.mark.parametrize("key", ["", "whsec_", "whpk_AAAA", "whpk_!", "secret"])
def test_a_key_that_is_none_is_said_so_and_not_shown(key):
    with pytest.raises(BadKey) as refused:
        verify([key], signed(TODAYS), BODY, now=NOW)
    assert len(key) < 7 or key not in str(refused.value)


def test_ours_and_the_library_of_standard_webhooks_sign_alike():
    theirs = Webhook(TODAYS)
    sign = Keys([CallbackKey(secret=TODAYS)]).sign("", "", "t.3", int(NOW), BODY)
    stamped = datetime.fromtimestamp(NOW, tz=UTC)
    assert sign == theirs.sign(msg_id="t.3", timestamp=stamped, data=BODY.decode())


@given(st.text(), st.text(), st.text())
def test_whatever_the_headers_hold_nothing_but_a_signature_is_believed(webhook_id, stamp, signature):
    headers = {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(Unverified):
        verify([TODAYS, PUBLIC], headers, BODY, now=NOW)
