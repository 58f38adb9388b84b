"""Where data may come from and go to, and with which credentials."""

from typing import Annotated, Literal

from msgspec import Struct

from tesk.settings.kinds import Count, Host, Paths, Positive, Seconds, Secret, says


class FileRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder of the host below which tasks may read or write."""

    path: Annotated[str, says("Absolute path; `~` is the server's home.")]
    write: Annotated[bool, says("Outputs may be written here, too.")] = False
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()
    hidden: Annotated[
        bool,
        says(
            "Entries of this folder whose names begin with a dot may be used, too. Without it no output is written into a "
            "`.git` further down either."
        ),
    ] = True


class HttpCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the stager sends to one HTTP host."""

    host: Annotated[
        str,
        says(
            "`host` (https at its own port alone), `host:port`, or `http://host[:port]`, which sends them in the clear."
        ),
    ]
    user: Annotated[str, says("Basic user.")] = ""
    password: Annotated[Secret, says("Basic password.")] = ""
    token: Annotated[Secret, says("Bearer token, instead of user and password.")] = ""
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class FtpCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the stager logs in at one FTP host. Without one it is anonymous."""

    host: Annotated[str, says("Host, or host:port.")]
    user: Annotated[str, says("User.")]
    password: Annotated[Secret, says("Password.")] = ""
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class S3Bucket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where S3 buckets are and with which keys they are opened. The first entry that names the bucket and the caller counts."""

    bucket: Annotated[str, says("Name of the bucket; `*` stands for any letters.")] = "*"
    endpoint: Annotated[
        str,
        says(
            "Address of the server, `https://s3.example.org`; it may be in a private network. Not given: Amazon's for `region`."
        ),
    ] = ""
    region: Annotated[str, says("Region. Not given: that of the profile, else `us-east-1`.")] = ""
    access_key_id: Annotated[str, says("Static key.")] = ""
    secret_access_key: Annotated[Secret, says("Its secret.")] = ""
    session_token: Annotated[Secret, says("Token of a key that lasts for a time.")] = ""
    profile: Annotated[
        str, says("Profile of the files `~/.aws/credentials` and `~/.aws/config` of the server's user.")
    ] = ""
    role: Annotated[
        Literal["", "instance", "web-identity"],
        says(
            "Take what the machine (`instance`) or a projected token (`web-identity`) gives. Neither, and no key: anonymous."
        ),
    ] = ""
    virtual_host: Annotated[bool, says("The bucket is part of the host's name, not of the path.")] = False
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class GsBucket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Google Cloud Storage buckets are opened. The first entry that names the bucket and the caller counts."""

    bucket: Annotated[str, says("Name of the bucket; `*` stands for any letters.")] = "*"
    endpoint: Annotated[
        str, says("Address of another server that speaks the same; it may be in a private network.")
    ] = ""
    service_account_file: Annotated[str, says("Key file of a service account.")] = ""
    service_account_key: Annotated[Secret, says("Its content (JSON), instead of the file.")] = ""
    application_default: Annotated[bool, says("Take the application default credentials of the server's user.")] = False
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class AzContainer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Azure Blob containers are opened. The first entry that names account, container and caller counts."""

    account: Annotated[str, says("Storage account.")]
    container: Annotated[str, says("Name of the container; `*` stands for any letters.")] = "*"
    endpoint: Annotated[
        str, says("Address of another server that speaks the same; it may be in a private network.")
    ] = ""
    account_key: Annotated[Secret, says("Key of the account.")] = ""
    sas: Annotated[Secret, says("Shared access signature, instead of a key.")] = ""
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class DrsHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the stager sends to one GA4GH DRS server."""

    host: Annotated[str, says("Host, or host:port.")]
    token: Annotated[Secret, says("Bearer token.")] = ""
    user: Annotated[str, says("Basic user.")] = ""
    password: Annotated[Secret, says("Basic password.")] = ""
    passports: Annotated[tuple[Secret, ...], says("GA4GH passports, sent where the server asks for them.")] = ()
    plain: Annotated[bool, says("It speaks http, not https.")] = False
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class DrsPrefix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where compact ids of one prefix are, `drs://PREFIX:ACCESSION`. Ids are never looked up at third parties."""

    prefix: Annotated[str, says("Prefix, as identifiers.org knows it, `dg.4503`.")]
    host: Annotated[str, says("DRS server, host or host:port.")]


class TrsHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is sent to one GA4GH TRS server, where `trs://` images are looked up."""

    host: Annotated[str, says("Host, or host:port.")]
    path: Annotated[str, says("Where its TRS is; at Dockstore that is `/api/ga4gh/trs/v2`.")] = "/ga4gh/trs/v2"
    token: Annotated[Secret, says("Bearer token.")] = ""
    plain: Annotated[bool, says("It speaks http, not https.")] = False
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class StorageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where data may come from and go to."""

    file_roots: Annotated[
        tuple[FileRoot, ...] | None,
        says(
            "Folders of the host that tasks may use; a plain path means reading and writing. Not given: a loopback server without authentication "
            "reads its user's home but for dot entries, and writes the folder it was started in and `~/tesk`; others none."
        ),
    ] = None
    file_denied: Annotated[
        Paths,
        says(
            "Files and folders that tasks never use, whatever `file_roots` says; TESK's own data and settings always are."
        ),
    ] = ()
    file_reflink: Annotated[bool, says("Clone files where the file system can.")] = True
    schemes: Annotated[
        tuple[str, ...], says("Schemes that tasks may use, such as `file` and `https`; empty: all that there are.")
    ] = ()
    hosts_allowed: Annotated[
        tuple[Host, ...],
        says(
            "Hosts that may be called: names, `*.example.org` for all below it, addresses, networks; empty: all that are not denied."
        ),
    ] = ()
    hosts_denied: Annotated[
        tuple[Host, ...], says("Hosts that are never called, likewise, whatever `hosts_allowed` says.")
    ] = ()
    http: Annotated[tuple[HttpCredential, ...], says("Credentials by host.")] = ()
    ftp: Annotated[tuple[FtpCredential, ...], says("Credentials by host.")] = ()
    s3: Annotated[
        tuple[S3Bucket, ...],
        says("Endpoints and credentials by bucket. A bucket that none names is Amazon's, anonymous."),
    ] = ()
    gs: Annotated[tuple[GsBucket, ...], says("Credentials by bucket. A bucket that none names is anonymous.")] = ()
    az: Annotated[
        tuple[AzContainer, ...], says("Credentials by account and container. What none names is anonymous.")
    ] = ()
    drs: Annotated[tuple[DrsHost, ...], says("Credentials by DRS server.")] = ()
    drs_prefixes: Annotated[tuple[DrsPrefix, ...], says("DRS servers of compact ids.")] = ()
    trs: Annotated[tuple[TrsHost, ...], says("Credentials by TRS server.")] = ()
    tries: Annotated[Positive, says("How often a request is tried when the server or the line fails.")] = 5
    timeout_seconds: Annotated[Seconds, says("Longest silence of a server.")] = 60.0
    connections_per_host: Annotated[Positive, says("Most connections of one task to one host.")] = 8
    private_addresses: Annotated[
        bool | None,
        says(
            "Fetch from loopback and private networks. Not given: only a loopback server without authentication does. Link-local and metadata never."
        ),
    ] = None
    http_proxy: Annotated[
        Secret,
        says(
            "Proxy for http, https, S3, Google, Azure, DRS and TRS, `http://proxy.example.org:3128`, with `user:password@` "
            "where it wants them. Variables such as `https_proxy` are not read."
        ),
    ] = ""
    no_proxy: Annotated[
        tuple[Host, ...],
        says("Hosts that are called without it, as `hosts_allowed` names them; this machine always is."),
    ] = ()
    parallel: Annotated[Positive, says("Files of one task that move at once.")] = 8
    input_bytes_limit: Annotated[Count, says("Most bytes that one task brings in; 0: no limit.")] = 0
    output_bytes_limit: Annotated[Count, says("Most bytes that one task takes out; 0: no limit.")] = 0
    files_limit: Annotated[Positive, says("Most files that one task brings in or takes out.")] = 1_000_000
