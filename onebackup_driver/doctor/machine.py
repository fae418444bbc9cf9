# SPDX-License-Identifier: Apache-2.0
"""This machine: what was installed, qemu-img, space, versions."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from importlib import metadata
from pathlib import Path
from typing import Optional

import onebackup_driver
from onebackup_driver import commands, errors, units
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.receipt import Receipt, digest

_INSTALL = "sudo ./install.sh"
_LEAST_SPACE_MB = 100
_PACKAGES = ("pyone", "lxml", "requests", "boto3", "pyyaml", "rich")
_TOOL_TIMEOUT_S = 20


def installation(place: Optional[Place], known: Receipt, configuration: Path) -> Finding:
    """Is every file there, as it was installed? An edited configuration is all right."""
    name = "installation"
    if place is None or not known.files:
        where = "this machine" if place is None else place.real(place.home)
        return finding.problem(name, f"onebackup is not installed on {where}", _INSTALL)
    if known.version != onebackup_driver.__version__:
        text = f"installed is {known.version}, this is {onebackup_driver.__version__}"
        return finding.problem(name, text, _INSTALL)
    delivered = [Path(path) for path in known.files if not path.endswith(".new")]  # a new default may be removed
    wrong = [text for path in delivered if (text := _wrong(place, known, path, configuration))]
    if wrong:
        return finding.problem(name, "; ".join(wrong), _INSTALL)
    return finding.ok(name, f"onebackup {known.version}, {len(known.files)} files as they were installed")


def _wrong(place: Place, known: Receipt, path: Path, configuration: Path) -> str:
    real = place.real(path)
    try:
        content, mode = real.read_bytes(), real.stat().st_mode
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if content.startswith(b"#!") and not (mode & stat.S_IXUSR and os.access(real, os.X_OK)):
        return f"{path} is not executable"
    edited = digest(content) != known.files[str(path)] and real != configuration and path.parent != Path("/etc/cron.d")
    return f"{path} is not as it was installed" if edited else ""


def qemu_img() -> Finding:
    """Is the tool there that reads images?"""
    name, program = "qemu-img", shutil.which("qemu-img")
    if program is None:
        return finding.problem(name, "it is not in PATH", "apt-get install qemu-utils (or dnf install qemu-img)")
    try:
        result = commands.run([program, "--version"], _TOOL_TIMEOUT_S)
    except errors.Failed as error:
        return finding.problem(name, str(error), "apt-get install --reinstall qemu-utils")
    lines = result.output.decode("utf-8", "replace").splitlines() or [""]
    if result.code:
        return finding.problem(name, f"{program} fails: {result.last_words}", "apt-get install --reinstall qemu-utils")
    return finding.ok(name, f"{lines[0]}, {program}")


def limits() -> Finding:
    """Is the tool there without which qemu-img is not let loose on images that tenants wrote?"""
    name, program = "prlimit", shutil.which("prlimit")
    if program is None:
        text = "it is not in PATH: qemu-img is not run without limits on memory and time, so no image can be backed up"
        return finding.problem(name, f"{text} into marketplaces of the driver onebackup", "apt-get install util-linux")
    return finding.ok(name, program)


def state_directory(state: Path, user: str) -> Finding:
    """Can journals be written, and is there room for them?"""
    name = "state directory"
    nearest = next(path for path in (state, *state.parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK) or not nearest.is_dir():
        fix = f"chown -R {user} {nearest}; chmod u+rwx {nearest}"
        return finding.problem(name, f"{state} cannot be written to", fix)
    foreign = _foreign(state)
    if foreign:
        return finding.problem(name, f"{foreign} belongs to another user", f"chown -R {user} {state}")
    free_mb = shutil.disk_usage(nearest).free / units.MIB
    if free_mb < _LEAST_SPACE_MB:
        text = f"{state} has {units.size_in_words(free_mb)} free; journals take less than {_LEAST_SPACE_MB} MiB"
        return finding.problem(name, text, f"make room in the file system of {nearest}")
    return finding.ok(name, f"{state}, {units.size_in_words(free_mb)} free")


def _foreign(state: Path) -> Optional[Path]:
    """Something in it that this user cannot write to, e.g. after a run as root."""
    found = (path for path in (state, *state.glob("*"), *state.glob("*/*")) if path.exists())
    return next((path for path in found if not os.access(path, os.W_OK)), None)


def versions(release: str) -> Finding:
    """Of everything that takes part."""
    parts = [f"onebackup {onebackup_driver.__version__}", f"OpenNebula {release or 'unknown'}"]
    parts += [f"Python {platform.python_version()}", *(_version(name) for name in _PACKAGES)]
    return finding.ok("versions", ", ".join(parts))


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} missing"
