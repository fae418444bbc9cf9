# SPDX-License-Identifier: Apache-2.0
"""Disks for the driver's tests, and looks at what became of them."""

from __future__ import annotations

import hashlib
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.market.driving import Front

MIB = 1024 * 1024


def disk(path: Path, seed: int = 1, size_mb: int = 24, image_format: str = "raw") -> Path:
    """A sparse disk: 3 MiB of noise, of which half is the same for all seeds."""
    raw = path.with_suffix(".new")
    with open(raw, "wb") as stream:
        stream.write(random.Random(0).randbytes(3 * MIB // 2))
        stream.seek(9 * MIB + 4096 * seed)
        stream.write(random.Random(seed).randbytes(3 * MIB // 2))
        stream.truncate(size_mb * MIB)
    if image_format == "raw":
        return raw.rename(path)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", image_format, str(raw), str(path)], check=True)
    raw.unlink()
    return path


def manifests(front: Front) -> list[str]:
    return sorted(path.name for path in (Path(front.market["REPOSITORY"][4:]) / "manifests").iterdir())


def download(front: Front, source: str, path: Path) -> str:
    """As a stock front-end fetches it; the MD5 of the file."""
    if front.process is None:
        front.start_gateway()
    done = subprocess.run(
        ["curl", "--fail", "-sS", "-k", "-L", "-o", str(path), front.served(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return hashlib.md5(path.read_bytes()).hexdigest()


def same_disk(path: Path, image_format: str, other: Path, other_format: str) -> None:
    argv = ["qemu-img", "compare", "-f", image_format, "-F", other_format, str(path), str(other)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done


def is_importing(front: Front) -> bool:
    held = Path("/proc/locks").read_text()
    return any(f":{path.stat().st_ino} " in held for path in (front.state / "locks").glob("repository-*"))


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
