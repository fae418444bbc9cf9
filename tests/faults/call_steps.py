# SPDX-License-Identifier: Apache-2.0
"""The API calls of a run as steps with names that stay the same from run to run, although polls differ in number.

A call that changes something: `one.vm.disksaveas.2`. A reading call is named by the change before it, and by the
how manieth object it is that is read there: `one.image.info.1@one.vm.disksaveas.2`; however often it is polled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

START = "start"
_READING = (".info", ".infoextended", "one.system.version")


def changes(call: str) -> bool:
    return not call.split(":")[0].endswith(_READING)


@dataclass
class Trace:
    """The steps of one run so far. `steps`: name to number of arguments, in order."""

    steps: dict[str, int] = field(default_factory=dict)
    after: str = START
    _counts: Counter[str] = field(default_factory=Counter)
    _objects: dict[str, list[Any]] = field(default_factory=dict)

    def name(self, call: str, parameters: tuple[Any, ...]) -> tuple[str, bool]:
        """The step that a call is, and whether it is the first call of that step."""
        call = call.replace(" ", ":")
        if changes(call):
            self._counts[call] += 1
            step = self.after = f"{call}.{self._counts[call]}"
            self._objects.clear()
        else:
            seen = self._objects.setdefault(call, [])
            if parameters[1:] not in seen:
                seen.append(parameters[1:])
            step = f"{call}.{seen.index(parameters[1:]) + 1}@{self.after}"
        first = step not in self.steps
        self.steps.setdefault(step, len(parameters) - 1)
        return step, first
