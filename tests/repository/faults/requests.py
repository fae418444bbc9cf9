# SPDX-License-Identifier: Apache-2.0
"""S3: something happens to every request of every operation, once or from then on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from onebackup_driver.repository.stores import s3_client

from . import invariants, operations, proxy
from .cases import Case, Outcome, Wanted
from .places import Place
from .request_faults import KINDS, LASTING
from .rig import Rig

GROUP = "requests"
_WHERE = {
    "s3": ("save", "save-large", "delete", "gc", "gc-dry-run", "verify", "restore", "list"),
    "s3 encrypted": ("save-again", "save-merging", "restore"),
}
#: With these a request that is never answered may take so long here; really it is the product of time-out and attempts.
READ_TIMEOUT_S = 0.7
_BOUND_S = s3_client.ATTEMPTS * READ_TIMEOUT_S * 4 + 5
#: Two pages where there would be one.
_PAGE = 4


@contextmanager
def hurried() -> Iterator[None]:
    """Time-outs and pauses between attempts are short, pages of listings small; all else is as always."""
    from botocore.retries import standard

    with mock.patch.object(s3_client, "READ_TIMEOUT_S", READ_TIMEOUT_S), mock.patch.object(
        s3_client, "PAGE", _PAGE
    ), mock.patch.object(standard.ExponentialBackoff, "delay_amount", lambda self, context: 0.02):
        yield


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    """Faults times requests of a clean run; only those that apply to the request."""
    found = []
    for where, names in _WHERE.items():
        for name in names:
            if wanted(where, name):
                found += _cases_of(where, name, _labels(rig, where, name))
    return found


def _labels(rig: Rig, where: str, name: str) -> list[str]:
    content = operations.world_for(name, "encrypted" in where)
    with hurried(), rig.place(where, content) as place:
        operations.run(name, place.open_store(), content)
        return list(rig.between.plan.seen)


def _cases_of(where: str, name: str, labels: list[str]) -> list[Case]:
    """Of requests of which there are many (an index each …) all but the first two share the faults among them."""
    found: list[Case] = []
    seen: dict[str, int] = {}
    for at, label in enumerate(labels, 1):
        seen[label] = seen.get(label, 0) + 1
        faults = [fault for fault, kind in KINDS.items() if kind.only(label)] + [f"lasting {item}" for item in LASTING]
        if seen[label] > 2:
            faults = faults[seen[label] % 5 :: 5]
        found += [Case(GROUP, where, name, fault, at) for fault in faults]
    return found


def run(case: Case, rig: Rig) -> Outcome:
    lasting = case.fault.startswith("lasting ")
    kind = KINDS[case.fault[8:] if lasting else case.fault]
    content = operations.world_for(case.operation, "encrypted" in case.where)
    with rig.place(case.where, content, case.operation in operations.READING) as place:
        before = place.versions()
        rig.between.plan = plan = proxy.Plan(kind.fault, case.at, lasting, kind.only)
        began = time.monotonic()
        with hurried():
            error = operations.outcome(case.operation, place.open_store(), content)
        took_s = time.monotonic() - began
        rig.between.plan = proxy.Plan()
        if not plan.struck:
            return Outcome(case, skipped="another request had this number this time")
        wrong = [] if kind.hidden and isinstance(error, operations.WrongResult) else _judged(
            error, took_s, place, heals=kind.heals and not lasting
        )
        if case.operation in operations.READING:
            return Outcome(case, plan.struck[0], wrong + invariants.changed(before, place.versions()))
        looked_at = rig.looked_at(place, case.at)
        wrong += invariants.broken(looked_at, operations.gone(case.operation, content))
        return Outcome(case, plan.struck[0], wrong)


def _judged(error: object, took_s: float, place: Place, heals: bool) -> list[str]:
    wrong = [f"took {took_s:.0f} s"] if took_s > _BOUND_S else []
    if isinstance(error, operations.WrongResult) and not heals:
        wrong.append(f"said nothing, but {error}")
    elif heals and error is not None:
        wrong.append(f"did not ride over it: {type(error).__name__}: {error}")
    elif isinstance(error, Exception):
        wrong += invariants.refused_in_words(error, place.address()[0])
    return wrong
