"""Which addresses the server may connect to on a client's behalf: public ones, and what the operator allows.

"Public" follows IANA's special-purpose address registries (RFC 6890), with what these leave open closed: multicast,
tunnels into IPv4 (6to4, Teredo, NAT64, IPv4-mapped) and the metadata services of clouds that have public addresses.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import cachetools.func
import psutil

_FORBIDDEN_V4 = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata service
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's platform services
)
_UNICAST_V6 = IPv6Network("2000::/3")
_FORBIDDEN_V6 = (
    IPv6Network("2001::/23"),  # IETF protocol assignments, Teredo among them
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one of the internet's, reached without a tunnel."""
    if isinstance(address, IPv4Address):
        special = address.is_multicast or address.is_reserved or not address.is_global
        return not special and not any(address in network for network in _FORBIDDEN_V4)
    if address not in _UNICAST_V6 or not address.is_global:
        return False
    return not any(address in network for network in _FORBIDDEN_V6)


@cachetools.func.ttl_cache(maxsize=1, ttl=30)
def own_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """Of this machine's interfaces: a public one reaches what listens here as well as a loopback one does."""
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        ipaddress.ip_address(one.address.partition("%")[0])
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family in families
    )


class AddressPolicy:
    """allow: names (``host``, ``*.domain``), addresses and networks that may be reached although not public.

    Raises ValueError for an entry that is none of these.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._names: set[str] = set()
        self._domains: list[str] = []
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]")))
            except ValueError:
                self._add_name(entry)

    def permitted(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Those of a host's addresses that may be connected to, in their order."""
        return [address for address in addresses if self.allows(host, address)]

    def allows(self, host: str, address: str) -> bool:
        """Whether the address, to which the name `host` resolved, may be connected to."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        name = host.lower().rstrip(".")
        if name in self._names or name.endswith(tuple(self._domains)):
            return True
        if any(parsed in network for network in self._networks):
            return True
        return is_public(parsed) and parsed not in own_addresses()

    def _add_name(self, entry: str) -> None:
        name = entry.lower().rstrip(".")
        bare = name.removeprefix("*.")
        if not bare or any(character in bare for character in "*/:@ "):
            raise ValueError(f"{entry!r} is not a host name, an address or a network")
        if name != bare:
            self._domains.append(f".{bare}")
        else:
            self._names.add(name)
