# SPDX-License-Identifier: Apache-2.0
"""Addresses of a restored VM: back when they are free, let go with a reason otherwise."""

from __future__ import annotations

import pytest
from lxml import etree

from onebackup_driver import networks
from sandbox.objects import addresses
from tests import objects


def network(ranges: str = "", leases: str = "") -> etree._Element:
    """one.vn.info with the range 10.0.0.10-10.0.0.19 (as made for the recordings), or others."""
    own = (
        "<AR><AR_ID>0</AR_ID><IP>10.0.0.10</IP><MAC>02:00:0a:00:00:0a</MAC><SIZE>10</SIZE><TYPE>IP4</TYPE>"
        f"<USED_LEASES>0</USED_LEASES><LEASES>{leases}</LEASES></AR>"
    )
    return etree.fromstring(f"<VNET><ID>2</ID><AR_POOL>{ranges or own}</AR_POOL></VNET>")


def lease(ip: str, mac: str, holder: str) -> str:
    return f"<LEASE><IP>{ip}</IP><MAC>{mac}</MAC>{holder}</LEASE>"


NIC = {"IP": "10.0.0.10", "MAC": "02:00:0a:00:00:0a", "NETWORK_ID": "2", "NAME": "NIC0"}


def test_a_free_address_comes_back() -> None:
    others = lease("10.0.0.11", "02:00:0a:00:00:0b", "<VM>7</VM>")
    assert networks.obstacle(network(leases=others), NIC) == ""


@pytest.mark.parametrize(
    "holder, words",
    [
        ("<VM>7</VM>", "VM 7"),
        ("<VNET>3</VNET>", "network 3"),
        ("<VROUTER>0</VROUTER>", "virtual router 0"),
        ("<VM>-1</VM>", "somebody else"),
    ],
)
def test_an_address_in_use_is_named_with_its_holder(holder: str, words: str) -> None:
    taken = lease("10.0.0.10", "02:00:0a:00:00:0a", holder)
    assert networks.obstacle(network(leases=taken), NIC) == f"10.0.0.10 is in use by {words}"


def test_a_mac_in_use_is_an_obstacle_in_any_case_of_letters() -> None:
    taken = lease("10.0.0.12", "02:00:0A:00:00:0A", "<VM>7</VM>")
    assert networks.obstacle(network(leases=taken), NIC) == "02:00:0a:00:00:0a is in use by VM 7"


@pytest.mark.parametrize("ip", ["10.0.0.9", "10.0.0.20", "192.168.1.1", "not an address", "fe80::1"])
def test_an_ip_outside_the_ranges_is_an_obstacle(ip: str) -> None:
    assert networks.obstacle(network(), {"IP": ip}) == f"{ip} is in no address range of the network any more"


@pytest.mark.parametrize("ip", ["10.0.0.10", "10.0.0.19"])
def test_the_ends_of_a_range_are_inside(ip: str) -> None:
    assert networks.obstacle(network(), {"IP": ip}) == ""


def test_any_of_several_ranges_will_do() -> None:
    two = (
        "<AR><MAC>02:00:00:00:00:00</MAC><SIZE>5</SIZE></AR>"
        "<AR><IP>172.16.0.1</IP><MAC>02:00:ac:10:00:01</MAC><SIZE>2</SIZE></AR>"
    )
    assert networks.obstacle(network(two), {"IP": "172.16.0.2", "MAC": "02:00:ac:10:00:02"}) == ""
    assert networks.obstacle(network(two), {"MAC": "02:00:00:00:00:04"}) == ""


@pytest.mark.parametrize("mac", ["02:00:00:00:00:01", "rubbish", "02:00:0a:00:00:14"])
def test_a_mac_alone_must_be_in_a_range(mac: str) -> None:
    assert networks.obstacle(network(), {"MAC": mac}) == f"{mac} is in no address range of the network any more"


def test_a_nic_without_addresses_has_no_obstacle() -> None:
    assert networks.obstacle(network(), {"NETWORK_ID": "2"}) == ""


@pytest.mark.parametrize(
    "nic, kept",
    [
        (NIC, {"IP": "10.0.0.10"}),
        ({"IP": "", "IP6": "2001:db8::1", "MAC": "02:00:00:00:00:01"}, {"IP6": "2001:db8::1"}),
        ({"MAC": "02:00:00:00:00:01"}, {"MAC": "02:00:00:00:00:01"}),
        ({}, {}),
    ],
)
def test_one_address_is_asked_for(nic: dict[str, str], kept: dict[str, str]) -> None:
    """oned refuses a NIC with more than one of IP, IP6 and MAC."""
    asked = networks.request({**nic, "NETWORK_ID": "2", "MODEL": "virtio"})
    assert asked == {**kept, **({"NAME": "NIC0"} if "NAME" in nic else {}), "NETWORK_ID": "2", "MODEL": "virtio"}


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_the_recorded_ip_brings_its_mac_back(version: str) -> None:
    """By the address arithmetic of the emulated front-end, which is not ours."""
    element = objects.load(version, "vm-running").find("TEMPLATE/NIC")
    assert element is not None
    nic = {str(child.tag): child.text or "" for child in element}
    own = addresses.make(0, {"IP": "10.0.0.10", "SIZE": "10"}, modern=version != "6.4")
    given = addresses.lease(own, 0, 4)
    assert networks.new_mac(network(), nic) == ""
    assert (given["IP"], given["MAC"]) == (networks.request(nic)["IP"], nic["MAC"])


def test_a_range_that_gives_another_mac_is_told() -> None:
    moved = "<AR><IP>10.0.0.8</IP><MAC>02:ff:00:00:00:fe</MAC><SIZE>10</SIZE></AR>"
    assert networks.new_mac(network(moved), NIC) == "02:ff:00:00:01:00"
    assert networks.new_mac(network("<AR><IP>10.0.0.8</IP><SIZE>10</SIZE></AR>"), NIC) == ""
    assert networks.new_mac(network(), {"IP": "rubbish", "MAC": NIC["MAC"]}) == ""
