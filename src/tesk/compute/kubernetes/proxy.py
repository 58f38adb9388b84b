"""Which proxy leads to an API server, by the kubeconfig or by the environment, as Go's programs read it. Pure."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from tesk.errors import StartError


def proxy_for(server: str, proxy_url: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the proxy's URL, None: straight. Raises StartError for a kind of proxy that we cannot use."""
    parts = urlsplit(server)
    proxy = proxy_url
    if not proxy:
        name = f"{parts.scheme}_proxy"
        proxy = environment.get(name.upper()) or environment.get(name)
        if not proxy or _straight(parts.hostname or "", parts.port, environment):
            return None
        proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    if scheme not in {"http", "https"}:
        raise StartError(f"a proxy by {scheme}:// cannot be used to reach {server}: http:// and https:// can")
    return proxy


def _straight(host: str, port: int | None, environment: Mapping[str, str]) -> bool:
    """Say whether NO_PROXY names a host: by name, domain, address, network, `*`; the machine itself is always meant."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    listed = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return any(
        _names(entry.strip().lower(), host.lower(), port, address) for entry in listed.split(",") if entry.strip()
    )


def _names(
    entry: str, host: str, port: int | None, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        if int(wanted) != (port or 443):
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*")
    return host == entry or host.endswith(f".{entry.removeprefix('.')}")
