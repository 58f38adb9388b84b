"""What is signed is what others verify: the library of Standard Webhooks, and for ed25519 the package cryptography."""

import base64
import json
import subprocess
import sys
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from tesk.callbacks.message import request
from tesk.errors import SettingsError
from tesk.http.target import parse
from tesk.settings import CallbackKey
from tesk.signature import Keys
from tesk.store.outbox import Pending
from tesk.tes.state import State

# The vector that other implementations of v1a are tested with.
VECTOR_SECRET = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
VECTOR_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
VECTOR_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

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


def pair():
    """A private key as a person makes it, its seed alone, and the public one."""
    private = Ed25519PrivateKey.generate()
    secret = f"whsk_{base64.b64encode(private.private_bytes_raw()).decode()}"
    return secret, private.public_key()


def verified(public: Ed25519PublicKey, headers, body):
    """Verify v1a as a stranger to our code does."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for each in headers["webhook-signature"].split(" "):
        kind, _, text = each.partition(",")
        if kind == "v1a":
            try:
                public.verify(base64.b64decode(text), content)
            except InvalidSignature:
                continue
            return True
    return False


def test_a_signature_of_v1a_is_that_of_other_implementations():
    signature = Keys([CallbackKey(secret=VECTOR_SECRET)]).sign(
        "ann", "a.example", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == VECTOR_SIGNATURE


def test_a_stranger_verifies_v1a_with_the_old_public_key_and_the_new_one_while_both_are_set():
    (old, old_public), (new, new_public), (_, other) = pair(), pair(), pair()
    headers, body = sent([CallbackKey(secret=old), CallbackKey(secret=new), CallbackKey(secret=OLD)])
    assert verified(old_public, headers, body)
    assert verified(new_public, headers, body)
    assert not verified(other, headers, body)
    assert not verified(new_public, headers, body + b" ")
    Webhook(OLD).verify(body, headers)


def test_public_keys_are_told_and_secrets_are_not():
    secret, public = pair()
    keys = Keys([CallbackKey(secret=OLD), CallbackKey(secret=secret), CallbackKey(secret=secret, user="ann")])
    assert keys.kinds == ("v1", "v1a")
    assert keys.public == (f"whpk_{base64.b64encode(public.public_bytes_raw()).decode()}",)
    assert Keys([]).kinds == ()


def test_a_plain_message_has_what_the_extension_has_and_no_more():
    assert json.loads(sent([], plain=True)[1]) == {"id": "task-1", "state": "RUNNING"}


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "whsec_!!",
        "whsec_ä",
        base64.b64encode(b"x" * 32).decode(),
        "whsec_" + base64.b64encode(b"x" * 8).decode(),
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),  # the second half is not the public key of the first
        VECTOR_PUBLIC,
    ],
)
def test_a_key_that_is_none_is_refused_without_being_shown(secret):
    with pytest.raises(SettingsError, match=r"callbacks.keys\[0\].secret") as refused:
        Keys([CallbackKey(secret=secret)])
    assert len(secret) < 10 or secret not in str(refused.value)


def test_the_package_for_ed25519_is_loaded_where_such_a_key_is_only_and_named_where_it_is_missing():
    lines = [
        "import sys",
        "import tesk.service, tesk.cli.main",
        "from tesk.settings import CallbackKey",
        "from tesk.signature import Keys",
        f"Keys([CallbackKey(secret={OLD!r})])",
        "assert 'cryptography' not in sys.modules",
        "sys.modules['cryptography'] = None",
        f"Keys([CallbackKey(secret={VECTOR_SECRET!r})])",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "SettingsError: callbacks.keys[0].secret: wants one package more: pip install 'tesk[ed25519]'"
    )
