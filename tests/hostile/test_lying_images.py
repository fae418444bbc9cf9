# SPDX-License-Identifier: Apache-2.0
"""Headers are written by whoever uploads an image: nothing they name is opened, and no size they claim is believed."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from onebackup_driver import commands, errors
from onebackup_driver.repository import image_header, qemu_image, source
from tests.hostile import images, watching
from tests.hostile.images import MIB, good, over, patched
from tests.market.conftest import front
from tests.market.disks import download, manifests, same_disk
from tests.market.driving import Front

__all__ = ["front"]


def refused(front: Front, image: Path, image_format: str = "qcow2") -> str:
    reason = front.import_(image, image_format).reason
    assert manifests(front) == []
    assert not list((front.state / "tmp").glob("*")) if (front.state / "tmp").exists() else True
    return reason


def test_what_a_header_names_is_never_opened(front: Front, tmp_path: Path) -> None:
    store = tmp_path / "datastore"
    store.mkdir()
    secret, other, pipe = store.parent / "one_auth", store / "image-of-another-user", store / "pipe"
    secret.write_bytes(b"oneadmin:secret\n" * 65536)
    good(other)
    os.mkfifo(pipe)
    lies = [
        over(store / "a", str(secret)),
        over(store / "b", str(other), "qcow2"),
        over(store / "c", other.name, "qcow2"),
        over(store / "d", str(pipe)),
        over(store / "e", "../one_auth"),
        over(store / "f", f'json:{{"driver":"raw","file":{{"driver":"file","filename":"{secret}"}}}}'),
        over(store / "g", "nbd://127.0.0.1:9/disk"),
        over(store / "h", f"file:{secret}"),
        images.with_data_file(store / "i", secret),
        patched(over(store / "j", str(secret)), 16, "I", 2000),
    ]
    snapshots = store / "k.snap"
    snapshots.mkdir()
    (snapshots / "0").symlink_to(secret)
    lies.append(over(store / "k", "k.snap/0"))
    over(store / "l", "l.snap/0", "qcow2")
    (store / "l.snap").mkdir()
    over(store / "l.snap" / "0", str(secret))
    lies.append(store / "l")
    with watching.watched(secret, other, pipe) as watch:
        for lie in lies:
            began = time.monotonic()
            assert refused(front, lie), lie
            assert not watch.touched(), lie
            assert time.monotonic() - began < 20
        for image_format in ("vmdk", "vhdx", "vdi", "raw:", "nbd", "luks"):
            assert refused(front, images.vmdk_over(store / "descriptor", secret), image_format)
            assert not watch.touched(), image_format
        assert "no qcow2 image" in refused(front, store / "descriptor", "qcow2")
        secret.read_bytes()
        assert watch.touched()  # the watch sees


def test_a_snapshot_of_opennebulas_own_is_read(front: Front, tmp_path: Path) -> None:
    """qcow2 datastores: <image> -> <image>.snap/1, which lies over <image>.snap/0 (src/tm_mad/qcow2/snap_create)."""
    (tmp_path / "image.snap").mkdir()
    good(tmp_path / "image.snap" / "0")
    (tmp_path / "image.snap" / "image.snap").symlink_to(".")
    top = over(tmp_path / "image.snap" / "1", "image.snap/0", "qcow2")
    (tmp_path / "image").symlink_to("image.snap/1")
    assert [layer.backing for layer in image_header.layers(tmp_path / "image")] == ["image.snap/0", ""]
    images.qemu_img("rebase", "-u", "-F", "qcow2", "-b", str(tmp_path / "image.snap" / "0"), top)
    values = front.import_(tmp_path / "image", "qcow2").values
    download(front, values["SOURCE"], tmp_path / "back")
    same_disk(tmp_path / "back", "qcow2", top, "qcow2")


@pytest.mark.parametrize(
    ("offset", "kind", "value", "words"),
    [
        (0, "I", 0x4B444D56, "no qcow2 image"),
        (4, "I", 1, "no qcow2 image"),
        (4, "I", 9, "no qcow2 image"),
        (8, "Q", 2**63, "in a way that qemu-img never writes"),
        (20, "I", 63, "no qcow2 image"),
        (20, "I", 8, "no qcow2 image"),
        (24, "Q", 2**63, "claims to be a disk of"),
        (24, "Q", 2**50, "claims to be a disk of"),
        (32, "I", 1, "encrypted"),
        (36, "I", 2**32 - 1, "claims to be a disk of"),
        (36, "I", 2**20, "cut off"),
        (40, "Q", 2**62, "cut off"),
        (48, "Q", 2**62, "damaged"),
        (72, "Q", 1 << 1, "marked as damaged"),
        (72, "Q", 1 << 2, "another file"),
        (72, "Q", 1 << 40, "not known"),
        (100, "I", 0, "no qcow2 image"),
    ],
)
def test_headers_that_claim_what_cannot_be(
    front: Front, tmp_path: Path, offset: int, kind: str, value: int, words: str
) -> None:
    assert words in refused(front, patched(good(tmp_path / "image"), offset, kind, value))


def test_any_header_is_an_image_or_our_own_error(tmp_path: Path) -> None:
    image = good(tmp_path / "image")
    content, chance, path = image.read_bytes(), random.Random(4), tmp_path / "changed"
    for _ in range(3000):
        changed = bytearray(content[:2000])
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(112 if chance.random() < 0.8 else 600)] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            assert all(layer.size_bytes <= image_header.LARGEST_BYTES for layer in image_header.layers(path))
        except errors.Error as error:
            assert "\n" not in str(error)


def test_damaged_tables_are_no_restore_point(front: Front, tmp_path: Path) -> None:
    assert "damaged" in refused(front, images.shared_table(tmp_path / "shared", 64))
    image = good(tmp_path / "image")
    with open(image, "r+b") as stream:  # the first L2 entry that is used, to a place behind the end
        stream.seek(4 * images.CLUSTER + 16 * 8)
        stream.write((1 << 63 | 1 << 50).to_bytes(8, "big"))
    assert refused(front, image)


def test_a_compressed_image_is_unpacked_only_where_there_is_room(tmp_path: Path) -> None:
    image = images.bomb(tmp_path / "bomb", 64 * MIB)
    assert image.stat().st_size < 2 * MIB
    with source.open_image(image, "qcow2", tmp_path) as opened:
        assert sum(extent.length for extent in opened) == 64 * MIB
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(errors.Failed, match="has to be unpacked first"):
        qemu_image._check_space(image, tmp_path, 2 * free)


def test_qemu_img_has_limits() -> None:
    """Whatever it is given: memory, time, output."""
    with pytest.raises(errors.TimedOut):
        commands.run_limited(["sleep", "30"], 0.3, 2**30, 1000)
    with pytest.raises(commands.TooMuch):
        commands.run_limited(["yes"], 20, 2**30, 100_000)
    done = commands.run_limited(["python3", "-c", "x = bytearray(2**31)"], 20, 2**29, 1000)
    assert done.code != 0 and "MemoryError" in done.last_words


def test_qemu_img_is_started_with_its_limits_only() -> None:
    """doctor asks for its version, which reads no image."""
    package = Path(commands.__file__).parent
    texts = {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}
    users = {path for path, text in texts.items() if '"qemu-img"' in text and path != Path("doctor/machine.py")}
    assert users
    for path in users:
        assert "commands.run_limited(" in texts[path], path
        assert not re.search(r"commands\.(run|call|become|start_detached|Child)\(", texts[path]), path


@pytest.mark.parametrize("inner", ["qcow2", "vmdk"])
def test_what_a_guest_writes_at_the_beginning_of_its_raw_disk_stays_data(
    front: Front, tmp_path: Path, inner: str
) -> None:
    secret, image = tmp_path / "secret", tmp_path / "disk"
    secret.write_bytes(b"secret" * 1000)
    if inner == "qcow2":
        over(image, str(secret))
    else:
        images.vmdk_over(image, secret)
    with open(image, "r+b") as stream:
        stream.truncate(8 * MIB)
    with watching.watched(secret) as watch:
        values = front.import_(image, "raw").values
        back = tmp_path / "back"
        assert download(front, values["SOURCE"], back) == values["MD5"]
        assert not watch.touched()
    same_disk(back, values["FORMAT"], image, "raw")
