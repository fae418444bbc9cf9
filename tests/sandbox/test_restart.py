# SPDX-License-Identifier: Apache-2.0
"""The emulator dies in the middle of something and comes back."""
from __future__ import annotations

from pathlib import Path

from sandbox.process import FrontEnd
from sandbox.world import guest
from tests.conftest import HttpMarket
from tests.sandbox import driving
from tests.sandbox.driving import DONE, ERROR, POWEROFF, RUNNING, SUSPENDED


def restart(front_end: FrontEnd) -> None:
    front_end.kill()
    front_end.restart()


UNDER_WAY = [
    ("poweroff", "poweroff", POWEROFF), ("suspend", "suspend", SUSPENDED), ("terminate-hard", "shutdown", DONE),
    ("undeploy", "undeploy", driving.UNDEPLOYED), ("stop", "stop", driving.STOPPED),
]


def test_actions_under_way_are_finished(fresh_front_end: FrontEnd) -> None:
    front_end = fresh_front_end
    numbers = [driving.vm(front_end, driving.image(front_end), more='GUEST="yes"\n') for _ in UNDER_WAY]
    for number, (action, what, _) in zip(numbers, UNDER_WAY):
        front_end.control("slow", what=what, seconds=30)
        front_end.call("one.vm.action", action, number)
    restart(front_end)
    for number, (_, _, wanted) in zip(numbers, UNDER_WAY):
        driving.wait(front_end, "vm", number, wanted)


def test_a_saveas_under_way_ends_in_its_failure_state(fresh_front_end: FrontEnd) -> None:
    number = driving.vm(fresh_front_end, driving.image(fresh_front_end))
    driving.act(fresh_front_end, "poweroff", number, POWEROFF)
    fresh_front_end.control("slow", what="saveas", seconds=5)
    saved = fresh_front_end.call("one.vm.disksaveas", number, 0, "saved", "", -1)
    restart(fresh_front_end)
    driving.wait(fresh_front_end, "vm", number, POWEROFF)
    driving.wait(fresh_front_end, "image", saved, ERROR)


def test_imports_and_downloads_under_way_end_in_error(fresh_front_end: FrontEnd,
                                                      http_market_server: HttpMarket) -> None:
    front_end, server = fresh_front_end, http_market_server
    text = f'NAME="m"\nMARKET_MAD="http"\nBASE_URL="{server.url}"\nPUBLIC_DIR="{server.public_dir}"'
    market = front_end.call("one.market.allocate", text)
    origin = driving.image(front_end)
    front_end.control("slow", what="import", seconds=5)
    front_end.control("slow", what="download", seconds=5)
    app = front_end.call("one.marketapp.allocate", f'NAME="a"\nORIGIN_ID="{origin}"', market)
    fresh = front_end.call("one.image.allocate", 'NAME="new"\nSIZE="4"\nTYPE="DATABLOCK"', 1)
    restart(front_end)
    driving.wait(front_end, "marketapp", app, ("3", None))
    driving.wait(front_end, "image", fresh, ERROR)
    assert driving.state(front_end, "image", origin) == driving.READY


def test_ids_go_on_growing(fresh_front_end: FrontEnd) -> None:
    first = fresh_front_end.call("one.template.allocate", 'NAME="a"')
    fresh_front_end.call("one.template.delete", first)
    restart(fresh_front_end)
    assert fresh_front_end.call("one.template.allocate", 'NAME="a"') == first + 1


def test_guests_outlive_the_emulator_and_a_dead_one_is_noticed(fresh_front_end: FrontEnd) -> None:
    front_end = fresh_front_end
    image = driving.image(front_end)
    number = driving.vm(front_end, image, more='GUEST="yes"\n')
    place = Path(front_end.control("vm_disk", vm=number, disk=0)).parent
    before = guest.find(place)
    restart(front_end)
    assert driving.state(front_end, "vm", number) == RUNNING
    assert before is not None and guest.find(place) == before
    front_end.kill()
    guest.kill(place)
    front_end.restart()
    driving.wait(front_end, "vm", number, POWEROFF)
