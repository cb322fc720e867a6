"""Where a webhook may go, and where never unless it is allowed."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.notify.addresses import CheckedResolver, NotAllowed, is_public, refuse_literal

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:c0a8:101::",
    "2001:0:0:1::f5ff:fffe",
    "2001:db8::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%1",
    "fec0::1",
    "ff02::1",
    "no address",
    "",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_of_the_public_internet_is_known(address: str) -> None:
    """Private, loopback, link-local, shared, documentation, multicast and reserved addresses are not public, nor are
    they when IPv6 wraps them; nor is what has a zone, or is no address."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    """Addresses of the public internet pass, wrapped or not."""
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_makes_it_public(address: ipaddress.IPv4Address) -> None:
    """Mapped, compatible, NAT64 and 6to4 forms of an address that is not public are not public either."""
    number = int(address)
    forms = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    if not is_public(str(address)):
        assert not any(is_public(str(form)) for form in forms)


async def test_one_bad_answer_among_good_ones_is_refused() -> None:
    """A name that stands for a public and a private address is not used at all."""
    answers = [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET, "10.0.0.1")]

    async def lookup(host: str, port: int, family: int) -> list[tuple[int, str]]:
        return [(int(kind), address) for kind, address in answers]

    with pytest.raises(NotAllowed):
        await CheckedResolver(allow_private=False, lookup=lookup).resolve("hook.example", 443)
    found = await CheckedResolver(allow_private=True, lookup=lookup).resolve("hook.example", 443)
    assert [one["host"] for one in found] == ["8.8.8.8", "10.0.0.1"]
    assert all(one["hostname"] == "hook.example" and one["port"] == 443 for one in found)


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
async def test_this_machine_s_own_lookup_is_checked(name: str) -> None:
    """Names and old spellings of numbers that lead to this machine are refused by what they lead to."""
    try:
        await CheckedResolver(allow_private=False).resolve(name, 80, socket.AF_UNSPEC)
    except OSError:
        return  # this system does not know the spelling
    except NotAllowed:
        return
    pytest.fail(f"{name} was let through")


def test_an_address_in_place_of_a_name_is_checked_without_a_lookup() -> None:
    """A host that is an address is refused where it is not public; a name passes here and is looked up later."""
    for address in ("127.0.0.1", "::1", "169.254.169.254", "fe80::1%1"):
        with pytest.raises(NotAllowed):
            refuse_literal(address)
    refuse_literal("8.8.8.8")
    refuse_literal("hook.example")
