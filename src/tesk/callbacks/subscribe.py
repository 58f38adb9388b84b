"""Take a callback's URL in: to where it leads, or to why it must not be called."""

from msgspec.structs import replace

from tesk.callbacks.target import Forbidden, Rules
from tesk.caller import Caller
from tesk.errors import BadRequest, Problem
from tesk.settings import CallbacksSettings
from tesk.store.outbox import lane_of
from tesk.store.rows import Callback

LOOPBACK = ("127.0.0.0/8", "::1", "localhost", "*.localhost")


class Subscribe:
    """Judges the URLs of callbacks by the settings."""

    def __init__(self, settings: CallbacksSettings) -> None:
        self._enabled = settings.enabled
        self._rules = Rules(settings)

    def __call__(self, url: str, caller: Caller) -> Callback:
        """Return where a caller's task is to be told. Raises BadRequest with what would be right."""
        if not self._enabled:
            raise _refused(
                "callbacks are off on this server (setting callbacks.enabled): ask for the task's state instead"
            )
        try:
            target = self._rules.check(url)
        except Forbidden as error:
            raise _refused(str(error)) from error
        return Callback(url=url, lane=lane_of(target.origin, caller.name))


def at_home(settings: CallbacksSettings) -> CallbacksSettings:
    """Return the settings of a server that listens on loopback alone: it may call there, too."""
    return replace(settings, allow=(*settings.allow, *LOOPBACK))


def _refused(why: str) -> BadRequest:
    return BadRequest(f"callback_url {why}", (Problem("callback_url", why),))
