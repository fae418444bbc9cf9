# SPDX-License-Identifier: Apache-2.0
"""The disks of bench.repository, made from this machine's own files: figures compare on one machine only.

    .venv/bin/python -m bench.repository_workload FOLDER [--full]        needs mke2fs and debugfs

day1.raw is an ext4 disk: an OS tree, incompressible files, allocated zeros. day2.raw and day3.raw each change about 2 %
in clusters and scattered blocks and have new files. clone.raw is day1.raw with data of its own: another VM from the
same golden image.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
IMAGES = ("day1.raw", "day2.raw", "day3.raw", "clone.raw")
_UUID = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Scale:
    """Sizes in MiB; `trees` are copied onto the disk."""

    disk_mb: int
    random_mb: int
    zeros_mb: int
    new_mb: int
    clone_mb: int
    clusters: int
    scattered: int
    trees: tuple[str, ...]


SMALL = Scale(1024, 32, 32, 12, 32, 5, 20, ("/usr/sbin", "/usr/share/doc", "/usr/lib/python3.11", "/usr/lib/git-core"))
FULL = Scale(
    8192, 300, 256, 100, 300, 40, 60,
    (
        "/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/gcc", "/usr/lib/python3",
        "/usr/lib/python3.11", "/usr/lib/llvm-14", "/usr/share/doc", "/usr/share/locale", "/usr/share/man",
        "/usr/share/vim", "/usr/share/perl", "/usr/share/i18n", "/usr/include", "/usr/lib/postgresql",
        "/var/lib/dpkg", "/usr/lib/ruby", "/usr/lib/git-core",
    ),
)  # fmt: skip


def make(folder: Path, scale: Scale) -> None:
    """Make the images in a folder; those that are there stay."""
    if all((folder / name).exists() for name in IMAGES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    _first_day(folder, scale)
    patches = _tar(folder / "patches", scale.trees, max(64, 4 * scale.new_mb))
    for before, after, seed in (("day1", "day2", 2), ("day2", "day3", 3)):
        _next_day(folder / f"{before}.raw", folder / f"{after}.raw", scale, seed, scale.new_mb, patches)
    _next_day(folder / "day1.raw", folder / "clone.raw", scale, 7, scale.clone_mb, patches)
    patches.unlink()


def _first_day(folder: Path, scale: Scale) -> None:
    tree, image = folder / "tree", folder / "day1.raw"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "data").mkdir(parents=True)
    for source in filter(os.path.exists, scale.trees):
        target = tree / os.path.dirname(source).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", source, str(target)], check=True)
    _random_file(tree / "data/media.bin", scale.random_mb, 1)
    with open(image, "wb") as stream:
        stream.truncate(scale.disk_mb * MIB)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    options = ["-E", f"hash_seed={_UUID},lazy_itable_init=0", "-U", _UUID, "-d", str(tree)]
    command = ["mke2fs", "-q", "-t", "ext4", "-F", *options, str(image), f"{scale.disk_mb}M"]
    subprocess.run(command, check=True, env=environment)
    _allocated_zeros(image, scale)
    shutil.rmtree(tree)


def _allocated_zeros(image: Path, scale: Scale) -> None:
    end = max(stop for start, stop in data_extents(image) if stop < (scale.disk_mb - 16) * MIB)
    with open(image, "r+b") as stream:
        for number in range(scale.zeros_mb // 8):
            stream.seek(min((end + (64 + 12 * number) * MIB) // MIB * MIB, (scale.disk_mb - 16) * MIB))
            stream.write(bytes(8 * MIB))


def _next_day(before: Path, after: Path, scale: Scale, seed: int, new_mb: int, patches: Path) -> None:
    _copy(before, after)
    folder = before.parent
    _tar(folder / "new.tar", ("/usr/share", "/usr/lib/x86_64-linux-gnu"), new_mb * 7 // 10, skip_mb=seed * 40)
    _random_file(folder / "new.bin", new_mb * 3 // 10, 20 + seed)
    commands = f"cd /data\nwrite {folder}/new.tar app{seed}.tar\nwrite {folder}/new.bin app{seed}.bin\n"
    subprocess.run(["debugfs", "-w", "-f", "/dev/stdin", str(after)], input=commands.encode(), capture_output=True)
    for name in ("new.tar", "new.bin"):
        (folder / name).unlink()
    _patch(after, scale, random.Random(seed * 100), patches)


def _patch(image: Path, scale: Scale, source: random.Random, patches: Path) -> None:
    places = [(start, stop) for start, stop in data_extents(image) if stop - start > 16 * MIB]
    weights = [stop - start for start, stop in places]
    other = patches.read_bytes()
    with open(image, "r+b") as stream:

        def write(place: int, length: int) -> None:
            begin = source.randrange(len(other) - length)
            stream.seek(place & ~4095)
            stream.write(other[begin : begin + length] if source.random() < 0.7 else source.randbytes(length))

        for _ in range(scale.clusters):
            start, stop = source.choices(places, weights)[0]
            base = source.randrange(start, stop - 8 * MIB)
            for _ in range(32):
                write(base + source.randrange(8 * MIB - 65536), source.choice([4, 4, 8, 16, 32, 64, 64, 64]) * 1024)
        for _ in range(scale.scattered):
            start, stop = source.choices(places, weights)[0]
            write(source.randrange(start, stop - 4096), 4096)


def _tar(path: Path, trees: tuple[str, ...], limit_mb: int, skip_mb: int = 0) -> Path:
    """A part of a tar of these trees: one file with real content."""
    argv = ["tar", "cf", "-", "--sort=name", "--mtime=@1700000000", *filter(os.path.exists, trees)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    for _ in range(skip_mb):
        process.stdout.read(MIB)
    with open(path, "wb") as stream:
        for _ in range(limit_mb):
            stream.write(process.stdout.read(MIB))
    process.stdout.close()
    process.kill()
    process.wait()
    return path


def _random_file(path: Path, size_mb: int, seed: int) -> None:
    source = random.Random(seed)
    with open(path, "wb") as stream:
        for _ in range(size_mb):
            stream.write(source.randbytes(MIB))


def _copy(source: Path, target: Path) -> None:
    """Keeps holes and allocated zeros apart, which cp does not."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        writer.truncate(os.fstat(reader.fileno()).st_size)
        for start, stop in data_extents(source):
            reader.seek(start)
            writer.seek(start)
            while start < stop:
                start += writer.write(reader.read(min(4 * MIB, stop - start)))


def data_extents(path: Path) -> list[tuple[int, int]]:
    """Begin and end of what is allocated in a sparse file."""
    found: list[tuple[int, int]] = []
    position = 0
    with open(path, "rb") as stream:
        while True:
            try:
                start = os.lseek(stream.fileno(), position, os.SEEK_DATA)
            except OSError:
                return found
            position = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
            found.append((start, position))


if __name__ == "__main__":
    make(Path(sys.argv[1]), FULL if "--full" in sys.argv else SMALL)
