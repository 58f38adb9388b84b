"""Ask DRS servers, with what the caller may show them: Basic, bearer, and passports where they are asked for."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from msgspec import json

from tesk.errors import TransferRefused
from tesk.settings import DrsHost
from tesk.storage.answer import Answer
from tesk.storage.drs.document import AccessMethod, AccessUrl, Object, read_access, read_object
from tesk.storage.drs.place import Place, quoted
from tesk.storage.patience import Again, Patience
from tesk.storage.wire import Wire, check
from tesk.tes.amounts import amount

T = TypeVar("T")

_DOCUMENT_BYTES = 16 * 1024 * 1024
"""A bundle of 100,000 parts; decoded it is several times as large."""
_NOT_THERE = frozenset({404, 410})
_LATER = 202
_DENIED = frozenset({401, 403})


class Said(NamedTuple):
    """An answer. `public`: the server is no neighbour of ours, so it may not send us to one."""

    data: bytes
    public: bool


class Servers:
    """All DRS servers, for one caller. `wire` has the caller's credentials for them."""

    def __init__(self, wire: Wire, patience: Patience, known: Iterable[DrsHost]) -> None:
        self._wire = wire
        self._patience = patience
        self._known = {host.host.lower(): host for host in known}

    def object(self, place: Place, *, expand: bool = False) -> tuple[Object, bool] | None:
        """Return what an id stands for, and whether the server is a public one; None where there is no such object."""
        said = self._ask(place, "", {"expand": expand}, passport=False)
        return None if said is None else (read_object(said.data, place.url), said.public)

    def access(self, place: Place, method: AccessMethod) -> AccessUrl:
        """Return where the bytes are, by the access id of a method."""
        said = self._ask(place, f"/access/{quoted(method.access_id or '')}", {}, passport=method.wants_passport)
        if said is None:
            raise TransferRefused(f"{place.url}: the server does not know its own access id")
        return read_access(said.data, place.url)

    def _ask(self, place: Place, what: str, asked: Mapping[str, bool], *, passport: bool) -> Said | None:
        """GET; or POST with passports, where they are what the server wants."""
        host = self._host(place)
        scheme = "http" if host is not None and host.plain else "https"
        url = f"{scheme}://{place.authority}/ga4gh/drs/v1/objects/{quoted(place.id)}{what}"
        passports = host.passports if host is not None else ()

        def get() -> Said | None:
            query = "?expand=true" if asked.get("expand") else ""
            with self._wire.ask(url + query, "GET", {"Accept": "application/json"}) as answer:
                return self._said(answer, place, passports)

        def post() -> Said | None:
            body = json.encode({**asked, "passports": passports})
            kind = {"Accept": "application/json", "Content-Type": "application/json"}
            with self._wire.ask(url, "POST", kind, body=body, onward_too=False) as answer:
                return self._said(answer, place, ())

        if passport and passports:
            return self._patience.act(place.url, post)
        try:
            return self._patience.act(place.url, get)
        except _WantsPassport:
            return self._patience.act(place.url, post)

    def _said(self, answer: Answer, place: Place, passports: tuple[str, ...]) -> Said | None:
        if answer.status in _NOT_THERE:
            return None
        if answer.status == _LATER:
            seconds = answer.header("Retry-After")
            raise Again("the server is not ready with it (202)", float(seconds) if seconds.isdecimal() else None)
        if answer.status in _DENIED:
            if passports:
                raise _WantsPassport
            raise TransferRefused(
                f"{place.url}: the DRS server answers {answer.status} {answer.reason}: it wants other credentials "
                "(setting storage.drs: token, user and password, or passports)"
            )
        check(answer, place.url)
        public = self._wire.is_public(answer)
        try:
            return Said(answer.read_at_most(_DOCUMENT_BYTES), public)
        except TransferRefused as error:
            raise TransferRefused(
                f"{place.url}: what its DRS server says of it is longer than {amount(_DOCUMENT_BYTES)}; "
                "the parts of such a bundle can be inputs of their own"
            ) from error

    def _host(self, place: Place) -> DrsHost | None:
        return self._known.get(place.authority) or self._known.get(place.authority.rpartition(":")[0])


class _WantsPassport(Exception):  # noqa: N818  a word between two requests, no error that anybody sees
    """The server does not let us in without one, and we have one."""
