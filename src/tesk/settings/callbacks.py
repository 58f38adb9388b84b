"""Settings of callbacks: whom this server may call when a task moves, how patiently, and signed with what."""

from typing import Annotated

from msgspec import Struct

from tesk.settings.kinds import Host, Ports, Positive, Seconds, Secret, says


class CallbackKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that callbacks are signed with. Where several fit, each signs: so a new one is brought in before the old one goes."""

    secret: Annotated[
        Secret,
        says(
            "`whsec_` and then 24 to 64 bytes in Base64, such as `openssl rand -base64 32` prints; the listener has it, too. "
            "Or `whsk_` and then an ed25519 key: listeners need only the public one, which `/tesk/v1/service-info` shows."
        ),
    ]
    user: Annotated[str, says("Whose tasks it is for; empty: everybody's.")] = ""
    host: Annotated[str, says("The host of the listener that it is for, `listener.example.org`; empty: every one.")] = (
        ""
    )


class CallbacksSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Telling a task's `callback_url` of each state."""

    enabled: Annotated[
        bool,
        says(
            "Whether tasks may have a `callback_url`. Where not, one that has is refused, lest its client wait for ever."
        ),
    ] = True
    hosts: Annotated[
        tuple[Host, ...],
        says(
            "The only hosts that may be called: names, `*.example.org`, addresses, networks. Empty: every public one."
        ),
    ] = ()
    allow: Annotated[
        tuple[Host, ...],
        says(
            "Hosts, addresses and networks that may be called though they are private, such as `cwl-wes.wes.svc` or "
            "`10.0.0.0/8`. A server that listens on loopback alone may call loopback, too."
        ),
    ] = ()
    ports: Annotated[
        tuple[Ports, ...],
        says("Ports that may be called, each a number or a range."),
    ] = ("80", "443", "1024-65535")
    keys: Annotated[tuple[CallbackKey, ...], says("What callbacks are signed with (Standard Webhooks).")] = ()
    plain: Annotated[bool, says("Send `id` and `state` alone, for a listener that takes no other field.")] = False
    give_up_seconds: Annotated[Seconds, says("How long a delivery is tried.")] = 3 * 86400.0
    retry_seconds: Annotated[Seconds, says("Longest wait before the second try; doubles with each one.")] = 1.0
    retry_most_seconds: Annotated[Seconds, says("Longest wait between two tries.")] = 3600.0
    connect_seconds: Annotated[
        Seconds, says("How long a connection may take, the look for the host's address included.")
    ] = 5.0
    answer_seconds: Annotated[Seconds, says("How long a listener may take to begin its answer.")] = 10.0
    whole_seconds: Annotated[Seconds, says("How long one call may take in all.")] = 30.0
    connections: Annotated[Positive, says("Connections at once, in all.")] = 256
    connections_per_host: Annotated[Positive, says("Connections at once to one host.")] = 8
    connections_per_user: Annotated[Positive, says("Connections at once for one user's tasks.")] = 64
