"""Take a callback's URL in: to where it leads, or to why it must not be called."""

from msgspec.structs import replace

from tesk.caller import Caller
from tesk.errors import BadRequest, Problem
from tesk.http.target import LOOPBACK, Forbidden, Named, Rules
from tesk.settings import CallbacksSettings
from tesk.store.outbox import lane_of
from tesk.store.rows import Callback

_NAMED = Named("setting callbacks.hosts", "setting callbacks.allow", "setting callbacks.ports")


class Subscribe:
    """Judges the URLs of callbacks by the settings."""

    def __init__(self, settings: CallbacksSettings) -> None:
        self._enabled = settings.enabled
        self._rules = rules(settings)

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


def rules(settings: CallbacksSettings) -> Rules:
    """Return whom the settings let us call."""
    return Rules(hosts=settings.hosts, allow=settings.allow, ports=settings.ports, named=_NAMED)


def at_home(settings: CallbacksSettings) -> CallbacksSettings:
    """Return the settings of a server that listens on loopback alone: it may call there, too."""
    return replace(settings, allow=(*settings.allow, *LOOPBACK))


def _refused(why: str) -> BadRequest:
    return BadRequest(f"callback_url {why}", (Problem("callback_url", why),))
