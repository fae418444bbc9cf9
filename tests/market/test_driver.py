# SPDX-License-Identifier: Apache-2.0
"""The driver as oned starts it: real images, a real repository, a real gateway."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.market import driving
from tests.market.disks import MIB, disk, download, is_importing, manifests, same_disk, until
from tests.market.driving import Front


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_what_is_imported_can_be_downloaded(front: Front, tmp_path: Path, image_format: str) -> None:
    image = disk(tmp_path / "image", image_format=image_format)
    values = front.import_(image, image_format).values
    assert set(values) == {"SOURCE", "MD5", "SIZE", "FORMAT"}
    assert (values["SIZE"], values["FORMAT"]) == ("24", image_format)
    name = rf"[0-9a-f]{{32}}/[0-9TZ]+-[0-9a-f]{{32}}/disk\.{image_format}"
    assert re.fullmatch(rf"http://127\.0\.0\.1:2690/{name}", values["SOURCE"])
    assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]
    same_disk(image, image_format, tmp_path / "back", image_format)
    if image_format == "qcow2":
        assert (tmp_path / "back").stat().st_size < 4 * MIB
        subprocess.run(["qemu-img", "check", "-f", "qcow2", str(tmp_path / "back")], check=True, capture_output=True)


def test_an_image_over_a_backing_file_and_a_compressed_one(front: Front, tmp_path: Path) -> None:
    (tmp_path / "top.snap").mkdir()  # where OpenNebula keeps the snapshots of an image
    base = disk(tmp_path / "top.snap" / "0", 2, image_format="qcow2")
    top, packed = tmp_path / "top", tmp_path / "packed"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(top)], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 5M 100k", str(top)], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", str(top), str(packed)], check=True)
    for image in (top, packed):
        values = front.import_(image, "qcow2").values
        assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]
        same_disk(tmp_path / "back", "qcow2", top, "qcow2")


def test_the_next_day_stores_only_what_changed(front: Front, tmp_path: Path) -> None:
    first = front.import_(disk(tmp_path / "image", 1), "raw").values
    time.sleep(1.1)  # the newest one is known by its time, in seconds
    disk(tmp_path / "image", 2)
    second = front.import_(tmp_path / "image", "raw").values
    listed = front.onebackup("repository", "list", front.market["REPOSITORY"], "--json").out
    assert f'"parent": "{first["SOURCE"].split("/")[4]}"' in listed
    assert download(front, second["SOURCE"], tmp_path / "back") == second["MD5"]
    # without this front-end's memory of it, the parent is found in the repository
    (note,) = (front.state / "parents").rglob("0-7-0")
    note.unlink()
    third = front.import_(tmp_path / "image", "raw").values
    shown = front.onebackup("repository", "show", front.market["REPOSITORY"], third["SOURCE"].split("/")[4]).out
    assert second["SOURCE"].split("/")[4] in shown and re.search(r"^stored_bytes +0 ", shown, re.MULTILINE)


def test_delete_is_idempotent_and_leaves_the_others(front: Front, tmp_path: Path) -> None:
    first, second = (front.import_(disk(tmp_path / "image", seed), "raw").values for seed in (1, 2))
    for _ in range(2):
        assert front.delete(first["SOURCE"]) == driving.Answer(0, "", "")
    assert manifests(front) == [second["SOURCE"].split("/")[4]]
    assert download(front, second["SOURCE"], tmp_path / "back") == second["MD5"]
    gone = subprocess.run(["curl", "-sS", "--fail", front.served(first["SOURCE"])], capture_output=True)
    assert gone.returncode == 22
    assert front.delete("") == driving.Answer(0, "", "")
    assert "is no restore point" in front.delete("http://127.0.0.1/elsewhere").reason
    assert "has another one" in front.delete(second["SOURCE"].replace(second["SOURCE"].split("/")[3], "0" * 32)).reason
    assert len(manifests(front)) == 1


def test_monitor(front: Front, tmp_path: Path) -> None:
    values = front.monitor().values
    assert set(values) == {"USED_MB", "FREE_MB", "TOTAL_MB"}
    used, free, total = (int(values[name]) for name in ("USED_MB", "FREE_MB", "TOTAL_MB"))
    status = os.statvfs(tmp_path)
    assert used + free == total and abs(free - status.f_bavail * status.f_frsize // MIB) < 512
    front.market["PUBLISH_CATALOGUE"] = "yes"
    imported = [
        front.import_(disk(tmp_path / "image", seed), "raw", f'the "app" {seed}', RUN=f"{seed:032x}").values
        for seed in (1, 2)
    ]
    lines = re.findall(r'^APP="(.*)"$', front.monitor().out, re.MULTILINE)
    apps = [base64.b64decode(line).decode() for line in lines]
    assert len(apps) == 2
    apps.sort(key=lambda app: f"{2:032x}" in app)
    for app, values, seed in zip(apps, imported, (1, 2)):
        for name in ("SOURCE", "MD5", "SIZE", "FORMAT"):
            assert f'{name}="{values[name]}"' in app
        assert f'NAME="the \\"app\\" {seed}"' in app and f'RUN="{seed:032x}"' in app and 'TYPE="IMAGE"' in app


def test_warnings_only_where_it_worked_out(front: Front, tmp_path: Path) -> None:
    """oned of 6.x takes all of stderr for the reason of a failure."""
    front.import_(disk(tmp_path / "image"), "raw").values  # noqa: B018
    (index,) = (Path(front.market["REPOSITORY"][4:]) / "index").iterdir()
    index.chmod(0o600)
    index.write_bytes(index.read_bytes()[:-7])
    done = front.import_(disk(tmp_path / "image", 2), "raw")
    assert done.code == 0 and len(done.out.splitlines()) == 4
    (line,) = done.err.splitlines()
    assert re.match(r"WARN: index/\S+ is damaged: .*; it is passed over$", line)
    cut = disk(tmp_path / "cut", 3)
    xml = front.import_xml(cut, "raw").replace("<SIZE>1</SIZE>", "<SIZE>99</SIZE>")
    assert "ends early" in front.run("import", xml).reason
    mended = front.onebackup("repository", "gc", front.market["REPOSITORY"])
    assert mended.code == 0 and re.search(r"index/\S+ is damaged: .*; removed", mended.out)
    assert front.import_(disk(tmp_path / "again", 1), "raw").values["MD5"]
    assert front.onebackup("repository", "verify", front.market["REPOSITORY"]).code == 0


def test_no_app_is_listed_while_one_cannot_be(front: Front, tmp_path: Path) -> None:
    front.market["PUBLISH_CATALOGUE"] = "yes"
    front.import_(disk(tmp_path / "image"), "raw").values  # noqa: B018
    large = disk(tmp_path / "large", 3, 4000)
    running = front.begin("import", front.import_xml(large, "raw", "large"))
    until(lambda: any((front.state / "tmp").glob("*")) or is_importing(front))
    running.send_signal(signal.SIGSTOP)
    try:
        answer = front.monitor()
        assert answer.code == 0 and "USED_MB" in answer.out and "APP" not in answer.out
    finally:
        running.kill()
        driving.ended(running)
    assert front.monitor().out.count("APP=") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_import_leaves_no_restore_point(front: Front, tmp_path: Path, number: signal.Signals) -> None:
    image = disk(tmp_path / "image", 1, 8000)  # read back as raw: long enough to be hit
    running = front.begin("import", front.import_xml(image, "raw"))
    until(lambda: is_importing(front))
    time.sleep(0.1)
    running.send_signal(number)
    answer = driving.ended(running)
    assert answer.code == (-number if number == signal.SIGKILL else 128 + number) and answer.out == ""
    assert manifests(front) == []
    if number == signal.SIGTERM:
        assert "nothing was stored" in answer.reason
    small = disk(tmp_path / "small", 2)
    values = front.import_(small, "raw").values
    assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]


def test_fifteen_imports_beside_monitors(front: Front, tmp_path: Path) -> None:
    images = [disk(tmp_path / f"image{seed}", seed, image_format="qcow2") for seed in range(15)]
    running = [
        front.begin("import", front.import_xml(image, "qcow2", f"app {seed}", VM_ID=str(seed)))
        for seed, image in enumerate(images)
    ]
    looks = [front.monitor() for _ in range(3)]
    values = [driving.ended(process).values for process in running]
    assert all(look.code == 0 for look in looks)
    assert len(manifests(front)) == len({item["SOURCE"] for item in values}) == 15
    for image, item in zip(images, values):
        assert download(front, item["SOURCE"], tmp_path / "back") == item["MD5"]
        same_disk(image, "qcow2", tmp_path / "back", "qcow2")
    assert front.onebackup("repository", "verify", front.market["REPOSITORY"]).code == 0
