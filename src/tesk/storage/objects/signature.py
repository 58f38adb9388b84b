"""AWS Signature Version 4 for S3, in headers: who asks, for what, and when. Pure but for the cache of a day's key.

Source: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header".
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

NO_BODY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
"""Stands for the sum of a body that TLS protects."""


class Keys(NamedTuple):
    """What signs; `expires` is seconds since the epoch, None for ever."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    expires: float | None = None


class Request(NamedTuple):
    """What is signed: path and query as they are sent, percent-encoded, the query sorted; `amz` are the headers `x-amz-...`."""

    method: str
    host: str
    path: str
    query: str = ""
    amz: Mapping[str, str] = {}
    body_sha256: str = NO_BODY


def signed(request: Request, keys: Keys, *, region: str, at: float) -> dict[str, str]:
    """Return the headers that sign a request, its `amz` among them. `at` is now, in seconds since the epoch."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    headers = {**request.amz, "x-amz-content-sha256": request.body_sha256, "x-amz-date": moment}
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    headers = dict(sorted(headers.items()))
    names = ";".join(["host", *headers])
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    what = f"{request.method}\n{request.path}\n{request.query}\nhost:{request.host}\n{lines}\n{names}\n{request.body_sha256}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(what.encode()).hexdigest()}"
    signature = hmac.digest(_day(keys.secret_access_key, moment[:8], region), text.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers


@lru_cache(maxsize=8)
def _day(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
