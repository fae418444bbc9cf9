# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: every target of fuzz_targets.py for a while, with atheris where that is installed.

    python -m tests.hostile.fuzz --seconds 60 [--target vm_object] [--group payloads] [--engine mutation] [--seed 1]

The corpus grows in build/fuzz/<target>; what a target does not survive is kept in tests/hostile/regressions/<target>.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import resource
import subprocess
import sys
from pathlib import Path

from tests.hostile import mutation
from tests.hostile.fuzz_targets import ROOT, TARGETS, Target

REGRESSIONS = Path(__file__).with_name("regressions")
_CORPUS = ROOT / "build" / "fuzz"
_MEMORY_BYTES = 3 * 1024**3
_DONE = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s*(\d+)")


def main() -> int:
    arguments = _parsed()
    names = [
        name for name, found in TARGETS.items()
        if arguments.target in ("", name) and arguments.group in ("", found.group)
    ]  # fmt: skip
    bad = 0
    for name in names:
        by_atheris = arguments.engine == "atheris"
        runs, found = _by_atheris(name, arguments) if by_atheris else _by_mutation(TARGETS[name], arguments)
        bad += len(found)
        print(f"{name:20} {runs:>9} runs  {', '.join(found) or 'good'}", flush=True)
    return 1 if bad else 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz")
    parser.add_argument("--seconds", type=float, default=20, help="for each target")
    parser.add_argument("--target", default="")
    parser.add_argument("--group", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "mutation"), default=_best())
    return parser.parse_args()


def _best() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "mutation"


def _by_mutation(target: Target, arguments: argparse.Namespace) -> tuple[int, list[str]]:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.RLIM_INFINITY))
    runs, findings = mutation.loop(target, target.seeds, arguments.seed, arguments.seconds, 10**9)
    for finding in findings:
        _keep(target.name, finding.data)
    return runs, [f"{finding.error!r}"[:120] for finding in findings]


def _keep(name: str, data: bytes) -> None:
    folder = REGRESSIONS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _by_atheris(name: str, arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """In a process of its own: libFuzzer ends with the process, at the first input that is not survived."""
    folder = _CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    artifacts = REGRESSIONS / name
    artifacts.mkdir(parents=True, exist_ok=True)
    words = [name, str(arguments.seconds), str(folder), str(artifacts)]
    argv = [sys.executable, "-m", "tests.hostile.fuzz_inside", *words]
    before = set(artifacts.glob("*"))
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, errors="replace")
    text = done.stdout + done.stderr
    (_CORPUS / f"{name}.log").write_text(text)
    counts = [int(first or second) for first, second in _DONE.findall(text)] or [0]
    new = sorted(path.name for path in set(artifacts.glob("*")) - before)
    trouble = re.findall(r"^ === Uncaught.*|^([A-Za-z.]+(?:Error|Exception): .*)$|^SUMMARY: .*$", text, re.M)
    if done.returncode and not new:
        new = [f"ended with {done.returncode}, see {_CORPUS / name}.log"]
    return counts[-1], [f"{item} {' '.join(filter(None, trouble))[:150]}" for item in new]


if __name__ == "__main__":
    sys.exit(main())
