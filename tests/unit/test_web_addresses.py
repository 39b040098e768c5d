"""Which addresses a client's URL may lead to."""

import socket
from ipaddress import ip_address
from types import SimpleNamespace

import psutil
import pytest

from prosopon.deployments.web.addresses import AddressPolicy, is_public, own_addresses

FORBIDDEN = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8",
    "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::1",
    "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not AddressPolicy().allows("example.com", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))
    assert AddressPolicy().allows("example.com", address)


def test_this_machines_own_public_address_is_no_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [SimpleNamespace(family=socket.AF_INET, address="93.184.216.34")]
    mine += [SimpleNamespace(family=socket.AF_INET6, address="2606:4700::1111%eth0")]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": mine})
    own_addresses.cache_clear()
    policy = AddressPolicy()
    assert not policy.allows("example.com", "93.184.216.34")
    assert not policy.allows("example.com", "2606:4700::1111")
    assert policy.allows("example.com", "8.8.8.8")
    assert AddressPolicy(["93.184.216.34"]).allows("example.com", "93.184.216.34")
    own_addresses.cache_clear()


def test_the_addresses_of_this_machine_are_known() -> None:
    assert ip_address("127.0.0.1") in own_addresses()


def test_operators_allow_addresses_networks_names_and_domains() -> None:
    policy = AddressPolicy(["10.1.0.0/16", "192.168.7.7", "fd00::/8", "Pictures.Internal", "*.corp.example"])
    assert policy.allows("any.example", "10.1.200.3")
    assert not policy.allows("any.example", "10.2.0.1")
    assert policy.allows("192.168.7.7", "192.168.7.7")
    assert not policy.allows("192.168.7.8", "192.168.7.8")
    assert policy.allows("any.example", "fd12::1")
    assert policy.allows("pictures.internal", "127.0.0.1")
    assert policy.allows("PICTURES.internal.", "127.0.0.1")
    assert policy.allows("cdn.corp.example", "10.9.9.9")
    assert not policy.allows("corp.example", "10.9.9.9")
    assert not policy.allows("evilcorp.example", "10.9.9.9")
    assert not policy.allows("pictures.internal.evil.example", "127.0.0.1")


@pytest.mark.parametrize("entry", ["", "*", "http://host", "10.0.0.0/40", "10.0.0.1/8", "a*b", "host:80"])
def test_an_entry_that_is_none_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError):
        AddressPolicy([entry])
