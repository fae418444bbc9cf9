# SPDX-License-Identifier: Apache-2.0
"""Which faults there are, and which of them can happen at a step: together with the steps this is the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.faults import call_steps

#: Codes of include/RequestErrorCode: 256 authentication, 512 authorization or lock, 1024 no such object, 2048 action,
#: 8192 internal, 16384 allocate.
_ALLOCATING = (512, 1024, 8192, 16384)
_ACTING = (512, 1024, 2048, 8192)
_READING = (512, 1024, 8192)
_POOL_READING = (8192,)

ON_EVERY_CALL = ("refuse-256", "fault-501", "hang", "late", "cut-before", "cut-after", "kill-before", "kill-after",
                 "front-end-dies-before")  # fmt: skip
ON_EVERY_CHANGE = ("hang-after", "front-end-dies-after", "front-end-stays-away", "disk-full", "disk-full-in-recover",
                   "clock-forward", "clock-back", "terminate-signal")  # fmt: skip
#: What others do right before a step, in a backup.
MEDDLING = ("vm-terminated", "vm-resumed", "vm-powered-off", "vm-locked", "vm-renamed", "vm-undeployed",
            "backup-section-changed", "backup-section-removed", "images-deleted", "new-apps-deleted",
            "old-apps-deleted", "old-apps-locked", "templates-deleted", "marketplace-disabled")  # fmt: skip
MEDDLING_AFTER = ("vm-terminated-after", "images-deleted-after", "new-apps-deleted-after")
IN_RESTORES = ("images-deleted", "images-deleted-after", "templates-deleted", "old-apps-deleted", "old-apps-locked",
               "marketplace-disabled", "restored-vm-terminated")  # fmt: skip
#: The state machine that a call sets going, by what the sandbox calls it.
MACHINES = {"one.vm.action:poweroff": "poweroff", "one.vm.action:suspend": "suspend", "one.vm.action:resume": "resume",
            "one.vm.disksaveas": "saveas", "one.marketapp.allocate": "import", "one.image.allocate": "download",
            "one.vm.action:release": "prolog"}  # fmt: skip
OF_MACHINES = ("machine-fails", "machine-keeps-failing", "machine-too-slow")
#: What keeps a marketplace's storage from taking or giving files.
OF_STORAGE = ("store-gone", "store-breaks-off")
_STORING = ("one.marketapp.allocate", "one.marketapp.delete", "one.image.allocate")
#: Enough for a variant of a scenario whose other steps are the same.
FEW = ("refuse-2048", "hang-after", "cut-after", "kill-before", "kill-after", "machine-fails", "machine-keeps-failing",
       "machine-too-slow", "vm-resumed", "vm-terminated")  # fmt: skip
#: What is different for another kind of marketplace.
OF_OTHER_MARKETS = ("refuse-8192", "hang-after", "cut-before", "cut-after", "kill-before", "kill-after",
                    "front-end-dies-after", "machine-fails", "new-apps-deleted", "old-apps-deleted", "clock-forward",
                    "terminate-signal", "disk-full", "driver-dies", *OF_STORAGE)  # fmt: skip
#: What the one who carries out a request must tell apart.
OF_WORK = (*FEW, "refuse-8192", "refuse-512", "cut-before", "front-end-stays-away", "terminate-signal", "disk-full",
           "vm-locked", "clock-forward", "clock-back")  # fmt: skip
OF_FILES = {"open": ("kill", "no-space", "no-space-from-here", "no-more-bytes"), "sync": ("kill",),
            "rename": ("kill", "no-space"), "remove": ("kill",),
            "mkdir": ("kill", "no-space", "no-space-from-here")}  # fmt: skip


def of_step(scenario: str, step: str) -> Iterator[str]:
    """The faults that are tried at a step of a scenario."""
    if step.startswith("file:progress") and int(step.rsplit(".", 1)[1]) > 2:
        return  # a display, written for every line of the log: all the same
    if step.startswith("file:"):
        if scenario.endswith(("-s3", "-onebackup")) or (scenario == "work" and not step.startswith("file:queue")):
            return  # as in the scenario that it is like
        yield from OF_FILES[step.rsplit(".", 1)[0].rsplit(":", 1)[1]]
        return
    yield from filter(_wanted(scenario, step), _of_call(scenario, step))


def _wanted(scenario: str, step: str) -> Callable[[str], bool]:
    """Which faults are tried at a step in a scenario that is like another one for the most part."""
    call = step.split("@")[-1].rsplit(".", 1)[0]
    if scenario.endswith(("-s3", "-onebackup")):
        return OF_OTHER_MARKETS.__contains__ if step.startswith(_STORING) else lambda fault: False
    if scenario == "work" and not step.endswith("@start"):
        return OF_WORK.__contains__
    if scenario in ("backup-suspend", "backup-live") and not call.startswith(("one.vm.action", "one.vm.disksaveas")):
        return FEW.__contains__
    return lambda fault: True


def _of_call(scenario: str, step: str) -> Iterator[str]:
    call = step.split("@")[0].rsplit(".", 1)[0]
    for code in _codes(call):
        yield f"refuse-{code}"
    yield from ON_EVERY_CALL
    if not call_steps.changes(call):
        return
    yield from ("refuse-2048-for-good", "refuse-8192-for-good")
    yield from ON_EVERY_CHANGE
    yield from _meddling(scenario)
    if call in MACHINES:
        yield from OF_MACHINES
    if call in _STORING:
        yield from OF_STORAGE
        if scenario.endswith(("-s3", "-onebackup")):
            yield "driver-dies"  # the http one has ended before it can be found


def _codes(call: str) -> Iterable[int]:
    if not call_steps.changes(call):
        return _POOL_READING if "pool." in call or call.startswith("one.system") else _READING
    return _ALLOCATING if "allocate" in call or call in ("one.vm.disksaveas", "one.template.instantiate") else _ACTING


def _meddling(scenario: str) -> Iterable[str]:
    if scenario == "removal":
        return ("old-apps-deleted", "old-apps-locked", "marketplace-disabled")
    return IN_RESTORES if scenario.startswith("restore") else (*MEDDLING, *MEDDLING_AFTER)

