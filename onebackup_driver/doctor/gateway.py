# SPDX-License-Identifier: Apache-2.0
"""Does the gateway answer on this front-end, where there is a marketplace that cannot do without it?"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from onebackup_driver import app, errors, offered, repositories
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.installation import gateway_service, schedule
from onebackup_driver.installation.locating import Place

_NAME = "gateway"


def answering(context: Context, place: Optional[Place]) -> list[Finding]:
    """One finding; none without a marketplace of our driver."""
    elements = context.front_end.element("one.marketpool.info").findall("MARKETPLACE")
    ours = [market for market in map(app.parse_marketplace, elements) if market.driver == repositories.DRIVER]
    if not ours:
        return []
    try:
        rules = context.configuration.gateway
        wrong = offered.gateway_problem(rules)
    except errors.Error as error:
        return [finding.problem(_NAME, str(error), f"edit {context.where.configuration}")]
    if not wrong:
        return [finding.ok(_NAME, f"it answers on {rules.address} port {rules.port}")]
    for_whom = ", ".join(f"{market.marketplace_id} ({market.name})" for market in ours)
    text = f"{wrong}: nothing in marketplace {for_whom} can be restored, nor a backup into it be made"
    return [finding.problem(_NAME, text, _fix(place))]


def _fix(place: Optional[Place]) -> str:
    if place is None:
        return "onebackup gateway (as oneadmin, at each boot)"
    if place.real(schedule.UNITS / gateway_service.UNIT).is_file():
        return f"systemctl enable --now {gateway_service.NAME}; why it ended: journalctl -u {gateway_service.NAME}"
    if place.real(Path("/run/systemd/system")).is_dir():
        return "sudo ./install.sh --enable-market-driver"
    return gateway_service.by_hand(place)
