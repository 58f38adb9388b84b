"""What a listener is sent for one move of a task: a body, the headers that say who it is from, and the bytes of the request. Pure."""

from msgspec import json

from tesk import __version__
from tesk.http.target import Target
from tesk.signature import Keys
from tesk.store.outbox import Pending
from tesk.tes.times import rfc3339
from tesk.tes.told import PlainTold, Told


def request(
    target: Target, task_id: str, move: Pending, *, user: str, keys: Keys, timestamp: int, plain: bool = False
) -> bytes:
    """Return the whole request. Sent again it has the same `webhook-id`; `timestamp` (seconds) is of this sending."""
    said: Told | PlainTold = (
        PlainTold(id=task_id, state=move.state)
        if plain
        else Told(
            id=task_id,
            state=move.state,
            time=rfc3339(move.time),
            sequence=move.sequence,
            previous_state=move.previous_state,
            attempt=move.attempt,
        )
    )
    body = json.encode(said)
    webhook_id = f"{task_id}.{move.sequence}"
    signature = keys.sign(user, target.host, webhook_id, timestamp, body)
    signed = f"webhook-signature: {signature}\r\n" if signature else ""
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: tesk/{__version__}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"webhook-id: {webhook_id}\r\nwebhook-timestamp: {timestamp}\r\n{signed}\r\n"
    )
    return head.encode("ascii") + body
