"""Print what executors write while they do, to their end, over connections that may break: each byte once."""

import sys
from binascii import a2b_base64
from math import inf

from tesk.cli.output import printable, talk
from tesk.cli.session import Session
from tesk.cli.wait import PATIENCE
from tesk.client.answers import text_of
from tesk.client.patience import Patience
from tesk.client.sent import Sent, document_of
from tesk.client.subscription import Trouble
from tesk.errors import NotFound

_PATIENCE = Patience(busy=PATIENCE.gone, gone=PATIENCE.gone)


def follow(session: Session, task_id: str, executor: int | None, stream: str) -> None:
    """Print streams to the end of the attempt; `executor` None: of all in turn. Raises Unreachable when the server is gone for too long."""
    patient = session.patient(_PATIENCE)
    subscription = patient.calls.logs(task_id, executor=executor, stream=stream, told=_broke)
    try:
        for sent in patient.follow(subscription, lambda: inf):
            if sent is not None and sent.kind == "log":
                _print(sent)
    except NotFound:
        if not subscription.heard_any:
            raise
        # The task was removed meanwhile.


def _broke(error: Trouble, seconds: float) -> None:
    talk(f"the stream broke off: {error}; asking again for {seconds:.0f} s")


def _print(sent: Sent) -> None:
    piece = document_of(sent)
    if note := text_of(piece, "note"):
        talk(printable(note))
    if missed := piece.get("missed_bytes"):
        talk(f"{missed} bytes of {text_of(piece, 'stream')} of executor {text_of(piece, 'executor')} are not kept")
    sys.stdout.buffer.write(text_of(piece, "text").encode("utf-8", "replace") or a2b_base64(text_of(piece, "base64")))
    sys.stdout.buffer.flush()
