"""Where a webhook may go: the addresses that a name stands for are looked at, and those alone are connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int, int], Awaitable[list[tuple[int, str]]]]
"""From host, port and family to pairs of family and address."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "::/96",  # IPv4 as it was once written in IPv6
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo and 6to4 carry an IPv4 address inside, wherever that leads
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
    )
)
_NUMBERS: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+))*\.?")
_DOTTED: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_ANSWERS_MAX: Final = 64


class NotAllowed(Exception):
    """A webhook's host has an address that it must not have. No attempt can mend that."""


def is_public(text: str) -> bool:
    """Say whether an address belongs to the public internet, also where it is IPv4 dressed as IPv6.

    Whatever is private, loopback, link-local (cloud metadata), shared, multicast, reserved or no address is not.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if "%" in text:  # a zone: local by its nature
        return False
    return _public(_inside(address))


def _public(address: Address) -> bool:
    # What `is_global` says has changed between patches of Python: what matters is also written out.
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_link_local
        or any(address in network for network in _NEVER if network.version == address.version)
    )


def _inside(address: Address) -> Address:
    """Give the IPv4 address that a mapped or NAT64 one stands for; any other as it is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def refuse_literal(host: str) -> None:
    """Raise NotAllowed where a host is itself an address, and not a public one. A name is looked up later.

    Nor may it be digits and dots that are no address in the usual form: some libraries take these for one.
    """
    if _NUMBERS.fullmatch(host) and not _DOTTED.fullmatch(host):
        raise NotAllowed("it is a number, and no name of a host")
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if not is_public(host):
        raise NotAllowed("its address is not a public one")


class CheckedResolver(AbstractResolver):
    """Looks a name up once a connection, and hands on what it found only where every address is allowed.

    aiohttp connects to exactly these addresses, so that a second answer of the name server changes nothing.
    """

    def __init__(self, *, allow_private: bool, lookup: Lookup | None = None) -> None:
        """Take a `lookup` in place of this machine's."""
        self._allow_private = allow_private
        self._lookup = lookup or _look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the addresses of a name; raises NotAllowed, or OSError where there are none."""
        answers = (await self._lookup(host, port, family))[:_ANSWERS_MAX]
        if not answers:
            raise OSError("the name has no address")
        if not self._allow_private and not all(is_public(address) for _, address in answers):
            # One bad address among good ones is a name server that tries its luck.
            raise NotAllowed("its name stands for an address that is not a public one")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, address in answers
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _look_up(host: str, port: int, family: int) -> list[tuple[int, str]]:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
    )
    answers = []
    for kind, _, _, _, place in found:
        # A link-local address keeps its zone in the fourth place; it is named so that it is seen for what it is.
        zone = f"%{place[3]}" if kind == socket.AF_INET6 and len(place) == 4 and place[3] else ""
        answers.append((int(kind), f"{place[0]}{zone}"))
    return answers
