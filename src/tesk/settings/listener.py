"""Settings of `tesk listener`, which takes callbacks of any number of TES servers and tells those who wait."""

from typing import Annotated

from msgspec import Meta, Struct

from tesk.settings.kinds import Amount, Host, Port, Positive, Seconds, Secret, says


class ListenerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener: where it is, whom it believes, how patiently it waits."""

    host: Annotated[
        str,
        says(
            "Address to listen on. Without `token` only a loopback address is accepted, since others could read what comes."
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, says("Port to listen on; 0 takes a free one.")] = 8010
    url: Annotated[
        str, says("Under which address TES servers reach it, `https://listener.example.org`. Not given: host and port.")
    ] = ""
    database: Annotated[
        str,
        says(
            "`postgresql://...`, which several listeners may share, or a path for SQLite. Not given: `listener.db` in "
            "`data_dir`."
        ),
    ] = ""
    token: Annotated[
        Secret,
        says("The bearer token of those who may read everything and make subscriptions. At least 20 characters."),
    ] = ""
    keys: Annotated[
        tuple[str, ...],
        Meta(extra={"secret": True}),
        says("What callbacks are verified with (Standard Webhooks): `whsec_...`, or `whpk_...` of a TES server."),
    ] = ()
    tolerance_seconds: Annotated[
        Seconds, says("So far the time stamp of a signed callback may lie from the clock.")
    ] = 300.0
    plain: Annotated[
        bool, says("Believe callbacks at `/webhook` that nobody signed, on loopback: for tests on this machine.")
    ] = False
    server: Annotated[
        str, says("The TES server that is asked for tasks of signed callbacks when nothing came for a while.")
    ] = ""
    server_token: Annotated[Secret, says("The bearer token for `server`.")] = ""
    servers: Annotated[
        tuple[Host, ...],
        says(
            "Hosts, addresses and networks of the TES servers that subscriptions may have asked, such as `*.example.org` or "
            "`10.0.0.0/8`; `*` is every public one. Empty: those, and on loopback without a token the ones of this machine. `server` always may be."
        ),
    ] = ()
    quiet_seconds: Annotated[
        Seconds, says("A task of which nothing came for so long is asked for; the wait doubles with each answer.")
    ] = 300.0
    quiet_most_seconds: Annotated[Seconds, says("The longest such wait.")] = 3600.0
    asks_at_once: Annotated[Positive, says("Requests to TES servers under way at once.")] = 8
    answer_seconds: Annotated[Seconds, says("How long a TES server may take to answer.")] = 10.0
    retention_days: Annotated[Amount, says("How long tasks that have ended are known; 0: for ever.")] = 7.0
    wait_limit_seconds: Annotated[Seconds, says("Longest `?wait=`.")] = 60.0
    waiters_limit: Annotated[Positive, says("Long polls and streams that one process holds open.")] = 50_000
    heartbeat_seconds: Annotated[Seconds, says("How often a stream on which nothing happens shows that it lives.")] = (
        15.0
    )
    slow_seconds: Annotated[Seconds, says("A client that takes nothing of a stream for so long is cut off.")] = 30.0
