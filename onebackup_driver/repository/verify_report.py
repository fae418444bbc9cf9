# SPDX-License-Identifier: Apache-2.0
"""What verify found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from onebackup_driver import units
from onebackup_driver.repository.format import index

#: In place of a cell's id: the pack's table cannot be read.
ALL = "all"


class DamagedCell(NamedTuple):
    """A cell that cannot be read, why, and the names of the restore points it belongs to."""

    cell_id: str
    pack: str
    reason: str
    restore_points: tuple[str, ...]


@dataclass
class Report:
    """What a run checked and found; `objects` are damaged or missing ones that are no cells: name and reason."""

    restore_points: int = 0
    packs: int = 0
    cells: int = 0
    data_bytes: int = 0
    passed_over: int = 0
    damaged: list[DamagedCell] = field(default_factory=list)
    objects: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not self.damaged and not self.objects

    def lines(self) -> list[str]:
        """The report in words."""
        counts = ((self.restore_points, "manifest"), (self.packs, "pack"), (self.cells, "cell"))
        checked = ", ".join(units.counted(count, noun) for count, noun in counts)
        passed_over = f"; {units.counted(self.passed_over, 'pack')} not asked for" if self.passed_over else ""
        said = [f"checked {checked} ({units.size_in_words(-(-self.data_bytes // units.MIB))}){passed_over}"]
        said += [f"{name}: {reason}" for name, reason in self.other_objects]
        for cell in self.damaged:
            points = ", ".join(cell.restore_points) or "no restore point"
            what = "all cells" if cell.cell_id == ALL else f"cell {cell.cell_id[:16]}"
            said.append(f"{what} in {cell.pack}: {cell.reason}; needed by {points}")
        return said

    @property
    def other_objects(self) -> list[tuple[str, str]]:
        """Those of `objects` that are not told by `damaged` as well."""
        told = {cell.pack for cell in self.damaged}
        return [item for item in self.objects if item[0] not in told]

    def verdict(self) -> str:
        """One line on the whole."""
        if self.is_whole:
            return "all of that is whole"
        wholly = sum(cell.cell_id == ALL for cell in self.damaged)
        points = {name for cell in self.damaged for name in cell.restore_points}
        others = len(self.other_objects)
        counts = ((wholly, "whole pack"), (len(self.damaged) - wholly, "cell"), (others, "other object"))
        text = ", ".join(units.counted(count, noun) for count, noun in counts if count)
        text += f"; {units.counted(len(points), 'restore point')} cannot be restored wholly" if points else ""
        if any(name.startswith(index.PREFIX) for name, _ in self.objects):
            text += "; indexes are made again by: onebackup repository reindex"
        return f"DAMAGED: {text}"
