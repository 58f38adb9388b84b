"""Sign what is sent, as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from tesk.errors import SettingsError
from tesk.settings import CallbackKey

_PREFIX = "whsec_"
_SIZES = range(24, 65)


class Keys:
    """The keys of the settings, found by whose tasks they are for and which listener. Raises SettingsError for a bad one."""

    def __init__(self, keys: Sequence[CallbackKey]) -> None:
        self._keys = [(key.user, key.host.lower(), _bytes(number, key.secret)) for number, key in enumerate(keys)]

    def sign(self, user: str, host: str, webhook_id: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`: one for each key that fits, with blanks between; "" where none does."""
        content = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
        return " ".join(
            "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
            for of_user, of_host, secret in self._keys
            if of_user in ("", user) and of_host in ("", host)
        )


def _bytes(number: int, secret: str) -> bytes:
    try:
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise SettingsError(f"callbacks.keys[{number}].secret: is no Base64: {error}") from error
    if not secret.startswith(_PREFIX) or len(found) not in _SIZES:
        raise SettingsError(
            f"callbacks.keys[{number}].secret: must be {_PREFIX} and then {_SIZES.start} to {_SIZES.stop - 1} bytes in "
            f"Base64; this has {len(found)} bytes"
        )
    return found
