"""Which routes of a container are closed by each network of podman."""

import ipaddress

import pytest

from tesk.compute.containers.hooks import write_hooks


def refused(folder, address: str) -> bool:
    """Say whether an address is out of reach."""
    networks = [line.split()[-1] for line in (folder / "routes").read_text().splitlines()]
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks)


@pytest.mark.parametrize("network", ["bridge", "slirp4netns", "pasta"])
def test_credentials_of_clouds_are_out_of_reach_and_a_resolver_is_not(tmp_path, network: str) -> None:
    folder = tmp_path / "hooks"
    options = write_hooks(folder, {}, network)
    assert options[-2:] == ["--hooks-dir", str(folder)]
    for address in ("169.254.169.254", "169.254.170.2", "169.254.1.2", "100.100.100.200"):
        assert refused(folder, address)
    assert refused(folder, "169.254.1.1") == (network != "pasta")
    assert not refused(folder, "8.8.8.8")
    assert ("link" in (folder / "close").read_text()) == (network == "bridge")


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_network_that_is_closed_or_the_hosts_needs_no_hook(tmp_path, network: str) -> None:
    assert write_hooks(tmp_path / "hooks", {}, network) == []
    assert write_hooks(tmp_path / "hooks", {"A": "1\n2"}, network)
    assert not (tmp_path / "hooks/routes").exists()
