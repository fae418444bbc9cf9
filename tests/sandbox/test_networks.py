# SPDX-License-Identifier: Apache-2.0
"""Leases of virtual networks: asked for, refused, released."""
from __future__ import annotations

import pytest

from sandbox.process import FrontEnd
from tests.sandbox import driving


@pytest.fixture
def network(front_end: FrontEnd) -> int:
    text = f'NAME="{driving.name("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="10.1.0.10",SIZE="3"]'
    return int(front_end.call("one.vn.allocate", text, -1))


def nic(network: int, more: str = "") -> str:
    return f'NIC=[NETWORK_ID="{network}"{more}]\n'


def lease(front_end: FrontEnd, vm: int) -> tuple[str, str]:
    found = driving.xml(front_end, "vm", vm)
    return str(found.findtext("TEMPLATE/NIC/IP")), str(found.findtext("TEMPLATE/NIC/MAC"))


def test_leases_in_order_and_on_request(front_end: FrontEnd, network: int) -> None:
    first = driving.vm(front_end, more=nic(network))
    by_mac = driving.vm(front_end, more=nic(network, ',MAC="02:00:0a:01:00:0c"'))
    by_ip = driving.vm(front_end, more=nic(network, ',IP="10.1.0.11"'))
    assert lease(front_end, first) == ("10.1.0.10", "02:00:0a:01:00:0a")
    assert lease(front_end, by_mac) == ("10.1.0.12", "02:00:0a:01:00:0c")
    assert lease(front_end, by_ip) == ("10.1.0.11", "02:00:0a:01:00:0b")
    with driving.refused(16384, f"Cannot get IP/MAC lease from virtual network {network}."):
        driving.vm(front_end, more=nic(network))
    assert driving.xml(front_end, "vn", network).findtext("USED_LEASES") == "3"
    with driving.refused(2048, "Can not remove a virtual network with leases in use"):
        front_end.call("one.vn.delete", network)


@pytest.mark.parametrize("wanted", [
    ',IP="10.1.0.10"', ',MAC="02:00:0a:01:00:0a"', ',IP="10.9.9.9"', ',IP="rubbish"',
    ',IP="10.1.0.11",MAC="02:00:0a:01:00:0b"',
])
def test_what_is_taken_or_foreign_or_asked_for_twice_is_refused(front_end: FrontEnd, network: int, wanted: str) -> None:
    driving.vm(front_end, more=nic(network))
    image = driving.image(front_end)
    with driving.refused(16384, f"Cannot get IP/MAC lease from virtual network {network}."):
        driving.vm(front_end, image, more=nic(network, wanted))
    assert driving.state(front_end, "image", image) == driving.READY


def test_a_terminated_vm_gives_its_lease_back(front_end: FrontEnd, network: int) -> None:
    vm = driving.vm(front_end, more=nic(network, ',IP="10.1.0.11"'))
    driving.act(front_end, "poweroff", vm, driving.POWEROFF)
    assert driving.xml(front_end, "vn", network).findtext("USED_LEASES") == "1"
    driving.act(front_end, "terminate", vm, driving.DONE)
    again = driving.vm(front_end, more=nic(network, ',IP="10.1.0.11"'))
    assert lease(front_end, again)[0] == "10.1.0.11"


def test_security_groups_and_context(front_end: FrontEnd, network: int) -> None:
    group = front_end.call("one.secgroup.allocate",
                           f'NAME="{driving.name("sg")}"\nRULE=[PROTOCOL="TCP",RULE_TYPE="inbound",RANGE="22"]')
    vm = driving.vm(front_end, more=nic(network, f',SECURITY_GROUPS="{group}"') + 'CONTEXT=[NETWORK="YES"]\n')
    found = driving.xml(front_end, "vm", vm)
    assert found.findtext("TEMPLATE/NIC/SECURITY_GROUPS") == f"0,{group}"
    assert [rule.findtext("SECURITY_GROUP_ID") for rule in found.findall("TEMPLATE/SECURITY_GROUP_RULE")] == [
        "0", "0", str(group)]
    assert found.findtext("TEMPLATE/CONTEXT/ETH0_IP") == "10.1.0.10"


def test_networks_by_name_and_automatic(front_end: FrontEnd, network: int) -> None:
    name = driving.xml(front_end, "vn", network).findtext("NAME")
    vm = driving.vm(front_end, more=f'NIC=[NETWORK="{name}",NETWORK_UNAME="oneadmin"]\n')
    assert driving.xml(front_end, "vm", vm).findtext("TEMPLATE/NIC/NETWORK_ID") == str(network)
    with driving.refused(16384, "does not own a network with name: none-such"):
        driving.vm(front_end, more='NIC=[NETWORK="none-such"]\n')
    automatic = driving.vm(front_end, more='NIC=[NETWORK_MODE="auto"]\n')
    assert driving.xml(front_end, "vm", automatic).findtext("TEMPLATE/NIC/IP")


def test_nics_come_and_go(front_end: FrontEnd, network: int) -> None:
    vm = driving.vm(front_end)
    front_end.call("one.vm.attachnic", vm, nic(network))
    driving.wait(front_end, "vm", vm, driving.RUNNING)
    assert lease(front_end, vm)[0] == "10.1.0.10"
    front_end.call("one.vm.detachnic", vm, 0)
    driving.wait(front_end, "vm", vm, driving.RUNNING)
    assert driving.xml(front_end, "vn", network).findtext("USED_LEASES") == "0"


def test_held_leases(front_end: FrontEnd, network: int) -> None:
    front_end.call("one.vn.hold", network, 'LEASES=[IP="10.1.0.10"]')
    assert lease(front_end, driving.vm(front_end, more=nic(network)))[0] == "10.1.0.11"
    front_end.call("one.vn.release", network, 'LEASES=[IP="10.1.0.10"]')
    found = [lease(front_end, driving.vm(front_end, more=nic(network)))[0] for _ in range(2)]
    assert found == ["10.1.0.12", "10.1.0.10"]


@pytest.mark.both_versions
def test_which_address_comes_next(front_end: FrontEnd, version: str, network: int) -> None:
    first = driving.vm(front_end, more=nic(network))
    driving.act(front_end, "terminate-hard", first, driving.DONE)
    again = lease(front_end, driving.vm(front_end, more=nic(network)))[0]
    assert again == ("10.1.0.10" if version == "6.4" else "10.1.0.11")
