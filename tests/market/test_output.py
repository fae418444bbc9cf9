# SPDX-License-Identifier: Apache-2.0
"""Standard output is what oned reads: whoever else prints, and however, it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.market import driving
from tests.market.disks import disk, manifests
from tests.market.driving import Front

NOISE = """
import os, subprocess, sys
from onebackup_driver.market import main, monitoring

def answer(find_site, request):
    print("a library that prints")
    sys.stdout.write("and one that writes")
    sys.__stdout__.write("and one that knows the true one")
    os.write(1, b"and one in C")
    subprocess.run(["echo", "and a child"])
    if sys.argv[1] == "fails":
        raise OSError("no luck")
    return 'USED_MB="1"\\n'

monitoring.answer = answer
main._request = lambda: None
main.run("monitor")
"""


def noisy(how: str) -> subprocess.CompletedProcess[str]:
    """With a buffer, as in oned's environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    argv = [sys.executable, "-c", NOISE, how]
    return subprocess.run(argv, cwd=driving.ROOT, env=environment, capture_output=True, text=True)


def test_nobody_else_prints() -> None:
    done = noisy("works")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'USED_MB="1"\n', "")
    done = noisy("fails")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "onebackup: no luck\n")


def test_an_image_that_is_not_to_be_disposed_of_stays(front: Front, tmp_path: Path) -> None:
    image = disk(tmp_path / "image")
    for wish in ("NO", "", "no"):
        more = f"<DISPOSE>{wish}</DISPOSE><DISPOSE_CMD>rm -f {image}</DISPOSE_CMD>"
        assert front.run("import", front.import_xml(image, "raw", more=more)).code == 0
        assert image.exists()


def test_the_catalogue_is_all_or_none(front: Front, tmp_path: Path) -> None:
    """oned drops what is not listed: of a catalogue that cannot be read wholly nothing may be."""
    for seed in (1, 2):
        front.import_(disk(tmp_path / "image", seed), "raw", f"app {seed}").values  # noqa: B018
    front.market["PUBLISH_CATALOGUE"] = "YES"
    assert front.monitor().out.count("APP=") == 2
    path = Path(front.market["REPOSITORY"][4:]) / "manifests" / manifests(front)[0]
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-9])
    assert front.monitor().out.count("APP=") == 2  # the head alone says what the app is
    path.write_bytes(whole[:60])
    assert path.name in front.monitor().reason
    path.write_bytes(whole)
    assert front.monitor().out.count("APP=") == 2
