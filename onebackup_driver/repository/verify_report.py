# SPDX-License-Identifier: Apache-2.0
"""What verify found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from onebackup_driver import units


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
        said = [
            f"checked {self.restore_points} manifests, {self.packs} packs, {self.cells} cells "
            f"({units.size_in_words(self.data_bytes / units.MIB)}); "
            f"{self.passed_over} packs were not asked for"
        ]
        said += [f"{name}: {reason}" for name, reason in self.objects]
        for cell in self.damaged:
            points = ", ".join(cell.restore_points) or "no restore point"
            said.append(f"cell {cell.cell_id[:16]} in {cell.pack}: {cell.reason}; belongs to {points}")
        return said
