"""What can be set, with defaults, units and a sentence each. The reference in the docs is made from this file."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tesk.settings.callbacks import CallbacksSettings
from tesk.settings.containers import ContainersSettings
from tesk.settings.kinds import Amount, Paths, Port, Positive, Seconds, Secret, says
from tesk.settings.kubernetes import KubernetesSettings
from tesk.settings.listener import ListenerSettings
from tesk.settings.machine import MachineSettings
from tesk.settings.storage import StorageSettings


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may reach the server, and how."""

    host: Annotated[str, says("Address to listen on. Without authentication only a loopback address is accepted.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, says("Port to listen on; 0 takes a free one.")] = 8000
    insecure: Annotated[
        bool, says("Serve anybody who can connect, without authentication. For tests on closed networks.")
    ] = False
    hostnames: Annotated[
        tuple[str, ...],
        says("Names and addresses under which clients reach the server, beside its own (checked against `Host`)."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], says("Origins of web pages that may use the API, such as `https://portal.example.org`.")
    ] = ()
    body_limit_bytes: Annotated[Positive, says("Largest request body.")] = 8 * 1024 * 1024
    batch_body_limit_bytes: Annotated[
        Positive, says("Largest body of many tasks at once; each is also bounded alone.")
    ] = 64 * 1024 * 1024
    pending_limit: Annotated[
        Positive, says("Submissions under way at once; more are answered 429 with Retry-After.")
    ] = 2000
    wait_limit_seconds: Annotated[Seconds, says("Longest `?wait=` on one task.")] = 60.0
    streams_limit: Annotated[Positive, says("Streams of events that one process holds open.")] = 20_000
    log_streams_limit: Annotated[
        Positive,
        says("Streams of logs that one process holds open; each holds a file, or a stream of the cluster's API."),
    ] = 500
    heartbeat_seconds: Annotated[Seconds, says("How often a stream on which nothing happens shows that it lives.")] = (
        15.0
    )
    slow_seconds: Annotated[
        Seconds, says("A client that takes nothing of a stream for so long is cut off; it may go on where it was.")
    ] = 30.0


class InfoSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What service-info tells everybody about this service."""

    id: Annotated[
        str, says("Id in reverse domain notation, `org.example.tesk`. Not given: made of the host's name.")
    ] = ""
    name: Annotated[str, says("Name, for people.")] = "TESK"
    description: Annotated[str, says("A sentence.")] = ""
    organization: Annotated[str, says("Who runs it.")] = "Not named"
    organization_url: Annotated[str, says("Who runs it, as an address.")] = "http://localhost"
    contact_url: Annotated[str, says("Where to ask: `mailto:` or an address.")] = ""
    documentation_url: Annotated[str, says("Where users can read about this service.")] = ""
    environment: Annotated[str, says("`prod`, `test`, `dev` or `staging`.")] = ""


class User(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person or program that comes with a name and a password (HTTP Basic)."""

    name: Annotated[str, says("Who this is; owner of the tasks that they submit.")]
    password_hash: Annotated[Secret, says("As `tesk hash-secret` prints it.")]
    admin: Annotated[bool, says("Sees and cancels everybody's tasks.")] = False
    reads_only: Annotated[bool, says("May look, and neither submit nor cancel anything.")] = False


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bearer token."""

    name: Annotated[str, says("Who this is; owner of the tasks that they submit.")]
    token_hash: Annotated[Secret, says("As `tesk hash-secret` prints it.")]
    admin: Annotated[bool, says("Sees and cancels everybody's tasks.")] = False
    reads_only: Annotated[bool, says("May look, and neither submit nor cancel anything.")] = False


class AuthSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is let in. With no user and no token there is no authentication."""

    users: Annotated[tuple[User, ...], says("Users with passwords.")] = ()
    tokens: Annotated[tuple[Token, ...], says("Bearer tokens.")] = ()
    token: Annotated[
        Secret, says("One more bearer token, as it is: for a secret that a program made, by `TESK_AUTH_TOKEN_FILE`.")
    ] = ""
    token_name: Annotated[str, says("Who comes with `token`.")] = "admin"  # noqa: S105  a name of a person
    token_admin: Annotated[bool, says("Whether they see and cancel everybody's tasks.")] = True

    @property
    def by_token(self) -> bool:
        """Say whether anybody has a token."""
        return bool(self.tokens or self.token)

    @property
    def required(self) -> bool:
        """Say whether anybody must say who they are."""
        return bool(self.users) or self.by_token


class LocalSettings(MachineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend `local`: host programs in a bubblewrap sandbox."""

    sandbox: Annotated[
        Literal["bwrap", "none"], says("`none` gives up isolation; then every path lies in `unsafe_folders`.")
    ] = "bwrap"
    unsafe_folders: Annotated[Paths, says("With `sandbox = none`: the folders in which tasks may have paths.")] = ()
    visible: Annotated[Paths, says("Folders of the host that executors see, read-only.")] = (
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/opt",
    )
    path: Annotated[
        Paths, says("Folders put before the standard PATH of executors (a conda prefix's `bin`, say).")
    ] = ()
    network: Annotated[
        Literal["auto", "nat", "off", "host"],
        says(
            "`auto`: `nat` by pasta where it works, else `off`. `host` lets executors reach this server and the host's loopback."
        ),
    ] = "auto"
    user: Annotated[str, says("As whom executors run where the server is root.")] = "nobody"


class DefaultsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task gets that does not say."""

    image: Annotated[str, says("Image of `tesk run`.")] = "debian:stable-slim"
    cpu_cores: Annotated[Amount, says("Cores.")] = 1.0
    ram_gb: Annotated[Amount, says("Memory in 10^9 bytes.")] = 1.0
    disk_gb: Annotated[Amount, says("Disk in 10^9 bytes; 0: not counted, not limited.")] = 0.0


class LimitsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one task may ask for, and how many come at once."""

    batch_tasks: Annotated[int, Meta(ge=1, le=30_000), says("Most tasks in one batch.")] = 10_000
    attempts: Annotated[Positive, says("Attempts at a task that fails for reasons of the system.")] = 3
    attempts_in_all: Annotated[
        Positive, says("The end, also when the attempts were lost to our own stops and crashes.")
    ] = 20
    time_limit_seconds: Annotated[Seconds, says("Longest run of an attempt, staging included; 0: no limit.")] = 0.0
    content_bytes: Annotated[Positive, says("Most `content` in one task.")] = 1024 * 1024
    log_tail_bytes: Annotated[
        Positive,
        says("How much of the end of each stream is kept in an ExecutorLog; of all in an attempt 16 MiB at most."),
    ] = 64 * 1024


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things are kept after their end."""

    tasks_days: Annotated[Amount, says("Ended tasks; 0: for ever.")] = 0.0
    events_days: Annotated[Amount, says("Events; 0: as long as their task.")] = 0.0


class ShutdownSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens on TERM."""

    grace: Annotated[Seconds, says("Seconds that running attempts get before they are stopped and queued again.")] = (
        30.0
    )


class ControllerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loops that move tasks."""

    enabled: Annotated[
        bool,
        says(
            "Whether this server runs tasks. One that does not takes requests alone; others on its database run what it takes."
        ),
    ] = True
    lease_seconds: Annotated[Seconds, says("After this silence of a server others may take its tasks.")] = 30.0
    sweep_seconds: Annotated[Seconds, says("How often everything is looked at, signals or not.")] = 10.0
    retry_seconds: Annotated[
        Seconds, says("Wait before the second attempt; doubles with each one, up to five minutes.")
    ] = 5.0


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server's own log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], says("Least severe lines that are written.")] = (
        "info"
    )
    format: Annotated[Literal["text", "json"], says("One line each, for people or for machines.")] = "text"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings."""

    data_dir: Annotated[str, says("Where the server keeps its database and the tasks' folders.")] = (
        "~/.local/share/tesk"
    )
    database: Annotated[str, says("`postgresql://...`, or a path for SQLite. Not given: `tesk.db` in `data_dir`.")] = ""
    backend: Annotated[
        Literal["local", "containers", "kubernetes"],
        says(
            "Where tasks run: as programs of this machine, in their images by podman or docker, or as pods of a Kubernetes "
            "cluster."
        ),
    ] = "local"
    server: ServerSettings = ServerSettings()
    info: InfoSettings = InfoSettings()
    auth: AuthSettings = AuthSettings()
    storage: StorageSettings = StorageSettings()
    local: LocalSettings = LocalSettings()
    containers: ContainersSettings = ContainersSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    callbacks: CallbacksSettings = CallbacksSettings()
    listener: ListenerSettings = ListenerSettings()
    defaults: DefaultsSettings = DefaultsSettings()
    limits: LimitsSettings = LimitsSettings()
    retention: RetentionSettings = RetentionSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    controller: ControllerSettings = ControllerSettings()
    log: LogSettings = LogSettings()

    @property
    def of_backend(self) -> MachineSettings | KubernetesSettings:
        """What is set of the backend in use."""
        match self.backend:
            case "local":
                return self.local
            case "containers":
                return self.containers
            case "kubernetes":
                return self.kubernetes

    @property
    def grace_seconds(self) -> float:
        """Between TERM and KILL."""
        return self.of_backend.grace_seconds

    @property
    def host_lost_seconds(self) -> float:
        """How long attempts of another place whose server is gone are waited for."""
        return self.of_backend.host_lost_seconds
