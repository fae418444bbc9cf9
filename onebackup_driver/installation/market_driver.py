# SPDX-License-Identifier: Apache-2.0
"""Our marketplace driver made known to oned: oned.conf read, copied and replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from onebackup_driver import clock, errors
from onebackup_driver.installation import oned_conf
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.receipt import Receipt

_RESTART = "oned must be restarted to take note of it: systemctl restart opennebula (with HA: on every front-end)"


def enable(place: Place, receipt: Receipt, save: Callable[[], None], dry_run: bool) -> list[str]:
    """Put the driver into oned.conf; what was done, in lines. Raises Failed when oned.conf is not understood."""
    path = place.oned_conf
    text = _read(place)
    try:
        edited = oned_conf.add(text)
    except oned_conf.NotUnderstood as error:
        by_hand = "; ".join(" ".join(line.split()) for line in oned_conf.advice(text))
        raise errors.Failed(f"{error}; it was not changed, add by hand: {by_hand}") from error
    if edited.text == text:
        return [f"unchanged {path} (it has the marketplace driver)"]
    if dry_run:
        return [f"would add the marketplace driver to {path}"]
    backup = receipt.oned_conf.get("backup") or f"{path}.{clock.now()}.onebackup"
    if not place.real(Path(backup)).exists():
        shutil.copy2(place.real(path), place.real(Path(backup)))
    receipt.oned_conf = {
        "list": edited.list or receipt.oned_conf.get("list", False),
        "block": edited.block or receipt.oned_conf.get("block", False),
        "backup": backup,
    }
    save()
    _replace(place.real(path), edited.text)
    return [f"updated {path} (marketplace driver added; the file as it was: {backup})", _RESTART]


def disable(place: Place, receipt: Receipt, dry_run: bool) -> list[str]:
    """Take out of oned.conf what we put in, and the copy of it away; what was done, in lines."""
    if not receipt.oned_conf:
        return []
    text = _read(place)
    plain = oned_conf.remove(text, bool(receipt.oned_conf.get("list")))
    if dry_run:
        return [f"would take the marketplace driver out of {place.oned_conf}"]
    if plain != text:
        _replace(place.real(place.oned_conf), plain)
    backup = place.real(Path(receipt.oned_conf["backup"]))
    if backup.exists():
        backup.unlink()
    receipt.oned_conf = {}
    return [f"updated {place.oned_conf} (marketplace driver taken out)", _RESTART] if plain != text else []


def advice(place: Place) -> list[str]:
    """What to add to oned.conf by hand, in lines; none when it is there."""
    lines = oned_conf.advice(_read(place))
    if not lines:
        return []
    return [
        f"the marketplace driver is not in {place.oned_conf}; ./install.sh --enable-market-driver adds, and oned"
        " then has to be restarted:",
        *[f"  {line}" for line in lines],
    ]


def is_enabled(place: Place) -> bool:
    """Whether oned.conf has it, from us or from somebody else."""
    return not oned_conf.advice(_read(place))


def _read(place: Place) -> str:
    return place.real(place.oned_conf).read_bytes().decode("latin-1")


def _replace(path: Path, text: str) -> None:
    """The whole file or none of it, with the owner and the mode it had."""
    before = path.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode("latin-1"))
            stream.flush()
            os.fchmod(stream.fileno(), before.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
