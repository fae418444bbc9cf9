# SPDX-License-Identifier: Apache-2.0
"""State machines that fail end where a real front-end leaves them."""
from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.sandbox import driving
from tests.sandbox.driving import ERROR, POWEROFF, READY, RUNNING, SUSPENDED


@pytest.fixture
def stopped(front_end: FrontEnd) -> int:
    number = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, "poweroff", number, POWEROFF)
    return number


def market(front_end: FrontEnd, server: HttpMarket) -> int:
    text = f'NAME="{driving.name("market")}"\nMARKET_MAD="http"\nBASE_URL="{server.url}"\n'
    text += f'PUBLIC_DIR="{server.public_dir}"'
    return int(front_end.call("one.market.allocate", text))


def test_a_failed_poweroff_leaves_the_vm_running(front_end: FrontEnd) -> None:
    number = driving.vm(front_end, driving.image(front_end))
    front_end.control("next", what="poweroff", result="fail", vm=number)
    front_end.call("one.vm.action", "poweroff", number)
    assert driving.state(front_end, "vm", number) == ("3", "18")
    driving.wait(front_end, "vm", number, RUNNING)
    assert driving.xml(front_end, "vm", number).find("USER_TEMPLATE/ERROR") is None
    log = (front_end.state / "log" / f"{number}.log").read_text()
    assert "Fail to shutdown VM. Assuming RUNNING" in log


def test_a_failed_resume_falls_back(front_end: FrontEnd, stopped: int) -> None:
    front_end.control("next", what="resume", result="fail", vm=stopped)
    front_end.call("one.vm.action", "resume", stopped)
    assert driving.state(front_end, "vm", stopped) == ("3", "20")
    driving.wait(front_end, "vm", stopped, POWEROFF)
    driving.act(front_end, "resume", stopped, RUNNING)
    driving.act(front_end, "suspend", stopped, SUSPENDED)
    front_end.control("next", what="resume", result="fail", vm=stopped)
    front_end.call("one.vm.action", "resume", stopped)
    driving.wait(front_end, "vm", stopped, SUSPENDED)


def test_a_failed_saveas_leaves_an_error_image(front_end: FrontEnd, stopped: int) -> None:
    front_end.control("next", what="saveas", result="fail", vm=stopped)
    saved = front_end.call("one.vm.disksaveas", stopped, 0, driving.name("saved"), "", -1)
    driving.wait(front_end, "image", saved, ERROR)
    driving.wait(front_end, "vm", stopped, POWEROFF)
    assert driving.xml(front_end, "image", saved).find("TEMPLATE/ERROR") is None


def test_a_failed_import_leaves_an_error_app(front_end: FrontEnd, http_market_server: HttpMarket) -> None:
    origin = driving.image(front_end)
    front_end.control("next", what="import", result="fail")
    text = f'NAME="{driving.name("app")}"\nTYPE="IMAGE"\nORIGIN_ID="{origin}"'
    app = front_end.call("one.marketapp.allocate", text, market(front_end, http_market_server))
    driving.wait(front_end, "marketapp", app, ("3", None))
    error = driving.xml(front_end, "marketapp", app).findtext("TEMPLATE/ERROR") or ""
    assert " : Error importing app into marketplace: " in error
    assert driving.state(front_end, "image", origin) == READY


def test_allocating_from_a_locked_image_leaks_an_error_app(front_end: FrontEnd, http_market_server: HttpMarket) -> None:
    place = market(front_end, http_market_server)
    front_end.control("slow", what="download", seconds=0.4)
    origin = front_end.call("one.image.allocate", f'NAME="{driving.name("i")}"\nSIZE="4"\nTYPE="DATABLOCK"', 1)
    name = driving.name("leaked")
    with driving.refused(8192, "Cannot clone image in current state"):
        front_end.call("one.marketapp.allocate", f'NAME="{name}"\nORIGIN_ID="{origin}"', place)
    pool = front_end.call("one.marketapppool.info", -2, -1, -1)
    assert name in pool
    driving.wait(front_end, "image", origin, READY)


def test_a_failed_download_leaves_an_error_image(front_end: FrontEnd, tmp_path: Path) -> None:
    path = driving.source(tmp_path)
    front_end.control("next", what="download", result="fail")
    number = front_end.call("one.image.allocate", f'NAME="{driving.name("i")}"\nPATH="{path}"', 1)
    driving.wait(front_end, "image", number, ERROR)
    error = driving.xml(front_end, "image", number).findtext("TEMPLATE/ERROR") or ""
    assert " : Error copying image in the datastore: " in error
    path.unlink()


def test_files_outside_the_safe_directories_are_refused(front_end: FrontEnd, tmp_path: Path) -> None:
    path = tmp_path / "image.raw"
    path.write_bytes(bytes(1 << 20))
    number = front_end.call("one.image.allocate", f'NAME="{driving.name("i")}"\nPATH="{path}"', 1)
    driving.wait(front_end, "image", number, ERROR)
    assert "Not allowed to copy image" in (driving.xml(front_end, "image", number).findtext("TEMPLATE/ERROR") or "")


def test_a_failed_boot_shows_boot_failure(front_end: FrontEnd) -> None:
    front_end.control("next", what="boot", result="fail")
    number = front_end.call("one.vm.allocate", f'NAME="{driving.name("vm")}"\nCPU="0.1"\nMEMORY="64"')
    driving.wait(front_end, "vm", number, ("3", "36"))
    front_end.call("one.vm.recover", number, 3)
    driving.wait(front_end, "vm", number, driving.DONE)
