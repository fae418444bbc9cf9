# SPDX-License-Identifier: Apache-2.0
"""How far from the limit: which part of the CPU goes into zstd, the hash and kernel I/O, which into all else.

perf samples the whole process, from its start to its end, by the CPU clock. A sample counts for the library that the
CPU was in (zstd is linked into zstandard's, BLAKE3 into its own), one in the kernel by the call chain: a page fault
and what is no system call on a file are not I/O. All else (the interpreter and its start, memory copies and compares,
page faults, glue) is what could be saved at most.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench import measuring, repository_tools
from bench.measuring import Cost, Samples
from bench.repository_tools import SAVED

STEPS = ("limit: full", "limit: day 2", "limit: restore")
LIMITS = ("zstd", "BLAKE3", "kernel I/O")
ZSTD, HASH, IO = LIMITS
REST = ("page faults", "other kernel", "Python", "copy, compare", "other")
FAULTS, KERNEL, PYTHON, COPIES, OTHER = REST
_HERTZ = 997
_LIBRARIES = ((ZSTD, "zstandard|libzstd"), (HASH, "blake3"), (PYTHON, "python"), (COPIES, r"libc\.so|\[vdso\]"))
_FILE_CALL = re.compile(
    r"(?:sys|do)_(p?(read|write)v?(64|2)?|preadv2?|pwritev2?|f(data)?sync|sync_file_range|openat|rename\w*|link\w*|unlink\w*|"
    r"lseek|f?truncate|fallocate|close|newfstat\w*|statx|fadvise64|copy_file_range|sendfile64|io_uring_enter)\b"
)


class Limit:
    def __init__(self, folder: Path, samples: Samples):
        self._folder, self._samples = folder, samples
        self._place = folder / "tools" / "limit"

    def round(self, number: int) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        repository, images, steps = self._place / "repository", self._folder / "images", repository_tools.STEPS
        measuring.run([*steps, "create", str(repository)])
        parent: list[str] = []
        for step, day in zip(STEPS, ("full", "day 2")):
            measuring.read_through(images / SAVED[day])
            parent = [self._profiled(step, [*steps, "save", str(repository), str(images / SAVED[day]), *parent])]
        self._profiled(STEPS[2], [*steps, "restore", str(repository), *parent, str(self._place / "disk.raw")])
        shutil.rmtree(self._place)

    def close(self) -> None:
        pass

    def _profiled(self, step: str, argv: list[str]) -> str:
        data = self._place / "perf.data"
        recording = ["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", str(_HERTZ), "-o", str(data), "--"]
        cost, said = measuring.run([*recording, *argv])
        for kind, count in _counted(data).items():
            self._samples.add(step, kind, Cost(count / _HERTZ, cost.wall_s, cost.peak_mib))
        return said


def outside(samples: Samples, step: str) -> float:
    """The share of the CPU that is spent outside zstd, the hash and kernel I/O."""
    spent = {kind: samples.median(step, kind).cpu_s for kind in samples.who(step)}
    return sum(spent.get(kind, 0.0) for kind in REST) / sum(spent.values())


def _counted(data: Path) -> Counter[str]:
    """Samples by kind."""
    found = Counter(dict.fromkeys((*LIMITS, *REST), 0))
    argv = ["perf", "script", "-i", str(data), "-F", "ip,sym,dso"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for chain in _chains(process.stdout):
            found[_kind(chain)] += 1
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return found


def _chains(lines: Iterator[str]) -> Iterator[list[str]]:
    """Call chains, each from the innermost frame on."""
    chain: list[str] = []
    for line in lines:
        if line.strip():
            chain.append(line)
        elif chain:
            yield chain
            chain = []
    if chain:
        yield chain


def _kind(chain: list[str]) -> str:
    library = chain[0].rsplit("(", 1)[-1]
    if "[kernel" in library or "[unknown]" in library:
        inside = "".join(line for line in chain if "[kernel" in line)
        if "page_fault" in inside:
            return FAULTS
        return IO if _FILE_CALL.search(inside) else KERNEL
    return next((kind for kind, names in _LIBRARIES if re.search(names, library)), OTHER)
