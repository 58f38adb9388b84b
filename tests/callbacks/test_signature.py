"""What is signed is what the library of Standard Webhooks verifies."""

import base64
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tesk.callbacks.message import request
from tesk.callbacks.target import parse
from tesk.errors import SettingsError
from tesk.settings import CallbackKey
from tesk.signature import Keys
from tesk.store.outbox import Pending
from tesk.tes.state import State

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n] * 32)).decode()}" for n in (1, 2))
MOVE = Pending(sequence=3, previous_state=State.INITIALIZING, state=State.RUNNING, attempt=1, time=1.5, tries=0)


def sent(keys, *, user="ann", plain=False, timestamp=None):
    target = parse("https://listener.example/hook?x=1")
    whole = request(
        target, "task-1", MOVE, user=user, keys=Keys(keys), timestamp=timestamp or int(time.time()), plain=plain
    )
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /hook?x=1 HTTP/1.1"
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_a_listener_verifies_with_the_old_key_and_with_the_new_one_while_both_are_set(secret):
    headers, body = sent([CallbackKey(secret=OLD), CallbackKey(secret=NEW)])
    said = Webhook(secret).verify(body, headers)
    assert (said["id"], said["state"], said["sequence"], said["previous_state"]) == (
        "task-1",
        "RUNNING",
        3,
        "INITIALIZING",
    )
    assert headers["webhook-id"] == "task-1.3"


def test_a_body_that_was_changed_or_another_key_is_not_verified():
    headers, body = sent([CallbackKey(secret=OLD)])
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body.replace(b"RUNNING", b"COMPLETE"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body, headers)


def test_a_key_signs_for_its_user_and_its_host_alone():
    for key, user, signs in (
        (CallbackKey(secret=OLD, user="ann"), "ann", True),
        (CallbackKey(secret=OLD, user="ann"), "bob", False),
        (CallbackKey(secret=OLD, host="listener.example"), "bob", True),
        (CallbackKey(secret=OLD, host="other.example"), "bob", False),
    ):
        assert ("webhook-signature" in sent([key], user=user)[0]) is signs


def test_a_plain_message_has_what_the_extension_has_and_no_more():
    assert json.loads(sent([], plain=True)[1]) == {"id": "task-1", "state": "RUNNING"}


@pytest.mark.parametrize(
    "secret",
    ["whsec_", "whsec_!!", base64.b64encode(b"x" * 32).decode(), "whsec_" + base64.b64encode(b"x" * 8).decode()],
)
def test_a_key_that_is_none_is_refused_without_being_shown(secret):
    with pytest.raises(SettingsError, match=r"callbacks.keys\[0\].secret") as refused:
        Keys([CallbackKey(secret=secret)])
    assert len(secret) < 10 or secret not in str(refused.value)
