# SPDX-License-Identifier: Apache-2.0
"""One target under atheris, which looks at the branches of the package: `python -m tests.hostile.fuzz_inside vm_object
60 CORPUS ARTIFACTS`. libFuzzer ends with the process, at the first input that is not survived."""

from __future__ import annotations

import os
import sys

import atheris

with atheris.instrument_imports(include=["onebackup_driver"]):
    from tests.hostile import fuzz_targets


def main(name: str, seconds: str, corpus: str, artifacts: str) -> None:
    options = [
        f"-max_total_time={int(float(seconds))}", "-timeout=20", "-rss_limit_mb=3000", "-max_len=65536",
        "-print_final_stats=1", f"-artifact_prefix={artifacts}{os.sep}", corpus,
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], fuzz_targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
