"""Who may be called: a host's addresses are checked, and the very address that was checked is called."""

import contextlib
import ipaddress
import socket
from urllib.parse import urlsplit

from msgspec import Struct

from tesk.errors import TransferRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        "fd00:ec2::/32",  # Amazon by IPv6; pods get their credentials at another address than machines
        "fd20:ce::254",  # Google by IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle, older machines
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Hosts(Struct, frozen=True):
    """The hosts that the settings let us call: names, `*.example.org`, `*`, addresses, networks (`10.0.0.0/8`).

    Nothing `allowed` means all. What is `denied` is denied by its name and by its addresses.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def refusal(self, host: str, address: str | None = None) -> str | None:
        """Say why `host`, as a URL has it, must not be called (at `address`, once that is known), or None."""
        if not self.allowed and not self.denied:
            return None
        names = {_plain(host), _plain(address or host)}
        if any(_means(entry, name) for entry in self.denied for name in names):
            return "setting storage.hosts_denied names it"
        if not self.allowed or any(_means(entry, name) for entry in self.allowed for name in names):
            return None
        if address is None and _address(host) is None and any(_network(entry) for entry in self.allowed):
            return None  # an address of it may be meant; they are not known yet
        return "setting storage.hosts_allowed does not name it"

    def check(self, host: str) -> None:
        """Raise TransferRefused for a host that must not be called, before anybody asks for its addresses."""
        reason = self.refusal(host)
        if reason is not None:
            raise TransferRefused(f"{host} may not be called: {reason}")


EVERYWHERE = Hosts()


def refusal(address: str, *, private: bool) -> str | None:
    """Say why `address` must not be called, or None. `private`: loopback and private networks may be."""
    bare = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if bare.is_link_local or any(bare in network for network in _METADATA):
        return "link-local and metadata addresses are never called"
    if bare.is_unspecified or bare.is_multicast:
        return "it is the address of no host"
    if not private and not bare.is_global:
        return (
            "it is on this machine or in a private network (setting storage.private_addresses; "
            "no redirect from a public server leads there, whatever that is)"
        )
    return None


def may_lead_to_private(address: str) -> bool:
    """Say whether who answers at `address` may send us on to a private network or this machine: only who is there, too."""
    return refusal(address, private=False) is not None


def connect(host: str, port: int, *, private: bool, timeout_seconds: float, hosts: Hosts = EVERYWHERE) -> socket.socket:
    """Connect to the first address of `host` that may be called and answers.

    Raises TransferRefused where none may be called, OSError where none answers.
    """
    hosts.check(host)
    reason = None
    failure: OSError | None = None
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        said = refusal(str(place[0]), private=private) or hosts.refusal(host, str(place[0]))
        if said is not None:
            reason = said
            continue
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(timeout_seconds)
            line.connect(place)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            line.close()
            failure = error
        else:
            return line
    if failure is not None:
        raise failure
    raise TransferRefused(f"{host} may not be called: {reason or 'it has no address'}")


def check_name(host: str, *, private: bool, hosts: Hosts = EVERYWHERE) -> None:
    """Raise TransferRefused for a host that must not be called by its name, or by the address that it is. Looks nothing up."""
    hosts.check(host)
    with contextlib.suppress(socket.gaierror):  # a name, whose addresses are for whoever calls it
        for *_, place in socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        ):
            reason = refusal(str(place[0]), private=private) or hosts.refusal(host, str(place[0]))
            if reason is not None:
                raise TransferRefused(f"{host} may not be called: {reason}")


def check_url(url: str, *, private: bool, hosts: Hosts = EVERYWHERE) -> None:
    """Check the server of a URL that a library calls by itself: none of its addresses may be one that must not be called.

    The library asks for the addresses again, so this is for names that the settings or a cloud give, not a task.
    Raises TransferRefused, OSError where it has none.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    hosts.check(host)
    for *_, place in socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM):
        reason = refusal(str(place[0]), private=private) or hosts.refusal(host, str(place[0]))
        if reason is not None:
            raise TransferRefused(f"{host} may not be called: {reason}")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only wraps, as a router would unwrap it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _plain(host: str) -> str:
    """A host as it is compared: lower case, without the brackets, the zone and the dot at the end, in the letters of DNS."""
    host = host.strip("[]").lower()
    if ":" in host:
        return host.partition("%")[0]
    try:
        return host.encode("idna").decode().rstrip(".")  # the dots of other scripts are dots by now
    except UnicodeError:
        return host.rstrip(".")


def _means(entry: str, host: str) -> bool:
    """Say whether an entry of a setting means a (plain) host."""
    if entry == "*":
        return True
    network, address = _network(entry), _address(host)
    if network is not None:
        return address is not None and address in network
    if entry.startswith("*."):
        return host.endswith("." + _plain(entry[2:]))
    return host == _plain(entry)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _address(host: str) -> Address | None:
    try:
        return _embedded(ipaddress.ip_address(host))
    except ValueError:
        return None
