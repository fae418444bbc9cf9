# SPDX-License-Identifier: Apache-2.0
"""Temporary images go, whatever state they are in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from onebackup_driver import frontend, logs, paths, temporaries
from onebackup_driver.context import Context
from onebackup_driver.site_rules import Configuration, Timeouts
from sandbox.process import FrontEnd

RUN = "a" * 32


@pytest.mark.both_versions
@pytest.mark.parametrize("undo_s", [2.0, 60.0], ids=["stays locked", "is soon unlocked"])
def test_an_image_that_is_still_downloaded(fresh_front_end: FrontEnd, tmp_path: Path, undo_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="onebackup-", dir="/var/tmp") as folder:
        (Path(folder) / "disk").write_bytes(b"\1" * 2**20)
        fresh_front_end.control("slow", what="download", seconds=2.5)
        text = f'NAME="web {RUN}-disk-0" PATH="{folder}/disk" TYPE="DATABLOCK"'
        fresh_front_end.call("one.image.allocate", text, 1)

        temporaries.remove_images(_context(fresh_front_end, tmp_path, undo_s), RUN)

        assert RUN not in fresh_front_end.call("one.imagepool.info", -2, -1, -1)


def _context(front_end: FrontEnd, home: Path, undo_s: float) -> Context:
    where = paths.find({**front_end.environment, "HOME": str(home)})
    site = Configuration(timeouts=Timeouts(undo_s=undo_s))
    return Context(frontend.connect(where, 10, 5), site, where, logs.set_up(False))
