# SPDX-License-Identifier: Apache-2.0
"""What the verbs of `onebackup repository` show."""

from __future__ import annotations

import argparse
import json
import time
from typing import Optional

from onebackup_driver import errors, plain, repositories, units
from onebackup_driver.cli import repository_work
from onebackup_driver.repository.format.manifest import Manifest


def create(arguments: argparse.Namespace) -> int:
    """Make a repository and say where and how."""
    made = repository_work.create(arguments)
    if arguments.json:
        print(json.dumps({"id": repositories.identity(made), "place": made.store.place}))
        return errors.EXIT_DONE
    kind = "encrypted" if made.header.encrypted else "not encrypted"
    print(f"made repository {repositories.identity(made)} at {made.store.place}, {kind}")
    if made.header.encrypted:
        print(
            "without its key nobody can restore anything from it; what to put into a safe: onebackup repository key"
            f" export {arguments.repository} --key-file {arguments.key_file}"
        )
    return errors.EXIT_DONE


def list(arguments: argparse.Namespace) -> int:
    """Every restore point, oldest first."""
    opened = repository_work.open(arguments)
    points = repository_work.points(opened)
    if arguments.json:
        print(plain.document([point._asdict() for point in points]))
        return errors.EXIT_DONE
    if not points:
        print("there is no restore point in it")
    else:
        print(f"{'restore point':55}  {'made':19}  {'disk':>10}  {'stored':>10}  of")
    for point in points:
        print(plain.line(_line(point)))
    return errors.EXIT_DONE


def _line(point: Manifest) -> str:
    size, new = (_size(amount) for amount in (point.size_bytes, point.stored_bytes))
    return f"{point.name:55}  {units.local_time(point.created)}  {size:>10}  {new:>10}  {repository_work.what(point)}"


def show(arguments: argparse.Namespace) -> int:
    """One restore point."""
    point = repository_work.point(arguments)
    values = point._asdict()
    if arguments.json:
        print(plain.document(values))
        return errors.EXIT_DONE
    facts = values.pop("facts")
    for name, value in values.items():
        if value not in (None, ""):
            print(f"{name:14} {plain.line(_shown(name, value))}")
    print(f"{'of':14} {plain.line(repository_work.what(point))}")
    for name in ("format", "md5", "series"):
        if facts.get(name):
            print(f"{name:14} {plain.line(str(facts[name]))}")
    return errors.EXIT_DONE


def _shown(name: str, value: object) -> str:
    if name == "created" and isinstance(value, int):
        return units.local_time(value)
    return f"{value} ({_size(value)})" if name.endswith("_bytes") and isinstance(value, int) else str(value)


def status(arguments: argparse.Namespace) -> int:
    """The whole in numbers."""
    found = repository_work.status(arguments)
    if arguments.json:
        print(plain.document(found.as_json()))
        return errors.EXIT_DONE
    print(f"repository      {found.repository_id} at {found.place}{', encrypted' if found.encrypted else ''}")
    disks, data = _size(found.disk_bytes), _size(found.data_bytes)
    print(f"restore points  {found.restore_points}, descriptions of VMs included: {disks} of disks, {data} of data")
    print(f"used            {units.size_in_words(found.used_mb)}, free {_free(found.free_mb)}")
    print(f"deduplication   {_ratio(found.deduplication, 'data to what of it was new')}")
    print(f"compression     {_ratio(found.compression, 'new data to what it takes')}")
    verified = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.oldest_verification))
    print(f"all verified    {f'since {verified}' if found.oldest_verification else 'never (see: verify)'}")
    if found.damaged_packs:
        print(f"DAMAGED         {units.counted(found.damaged_packs, 'pack')} (see: verify)")
    for day in found.growth:
        print(f"  {day.date}  {day.restore_points} restore points, +{_size(day.stored_bytes)}")
    return errors.EXIT_DONE


def _size(amount_bytes: int) -> str:
    return units.size_in_words(-(-amount_bytes // units.MIB))


def _ratio(value: Optional[float], of_what: str) -> str:
    return f"-    ({of_what})" if value is None else f"{value:.2f} ({of_what})"


def _free(free_mb: Optional[int]) -> str:
    return "not known" if free_mb is None else units.size_in_words(free_mb)
