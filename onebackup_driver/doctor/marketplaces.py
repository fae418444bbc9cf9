# SPDX-License-Identifier: Apache-2.0
"""Each marketplace that backups may go into: does it answer, and has it room?"""

from __future__ import annotations

from lxml import etree

from onebackup_driver import app, errors, policy, repositories, s3_marketplace, stored_object, units, xml_values
from onebackup_driver.app import Marketplace
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding

_TIMEOUT_S = 10
_LEAST_FREE = 0.05


def reachable(context: Context) -> list[Finding]:
    """One finding for each allowed marketplace; one that tells so when there is none."""
    found = []
    for element in context.front_end.element("one.marketpool.info").findall("MARKETPLACE"):
        marketplace = app.parse_marketplace(element)
        try:
            policy.check_marketplace(marketplace, context.configuration)
        except errors.Refused as error:
            if marketplace.marketplace_id in context.configuration.allowed_marketplaces:
                found.append(finding.problem(_name(marketplace), str(error), "allowed_marketplaces in onebackup.yaml"))
            continue
        found.append(_examine(context, marketplace, element))
    found += _unknown(context, {item.name for item in found})
    if not found:
        types = ", ".join(context.configuration.allowed_marketplace_types)
        return [finding.problem("marketplaces", f"there is none of the types {types}", "onemarket create")]
    return found


def _name(marketplace: Marketplace) -> str:
    return f"marketplace {marketplace.marketplace_id}"


def _unknown(context: Context, names: set[str]) -> list[Finding]:
    return [
        finding.problem(f"marketplace {number}", "there is none with this id", "allowed_marketplaces in onebackup.yaml")
        for number in context.configuration.allowed_marketplaces
        if f"marketplace {number}" not in names
    ]


def _examine(context: Context, marketplace: Marketplace, element: etree._Element) -> Finding:
    name, known = _name(marketplace), f"{marketplace.name} ({marketplace.driver})"
    reason = _unreachable(context, marketplace)
    if reason:
        return finding.problem(name, f"{known}: {reason}", f"onemarket show {marketplace.marketplace_id}")
    total, free = (xml_values.number(element, key, 0) for key in ("TOTAL_MB", "FREE_MB"))
    warning = _warning(context, marketplace)
    if warning:
        return finding.problem(name, f"{known}: {warning}", f"onemarket update {marketplace.marketplace_id}")
    if total <= 0:
        return finding.ok(name, f"{known} answers; its free space is not known")
    space = f"{units.size_in_words(free)} of {units.size_in_words(total)} free"
    if free < total * _LEAST_FREE:
        fix = f"make room in it, see: onebackup list, onemarket show {marketplace.marketplace_id}"
        return finding.problem(name, f"{known} is nearly full: {space}", fix)
    return finding.ok(name, f"{known} answers, {space}")


def _warning(context: Context, marketplace: Marketplace) -> str:
    """What works in a marketplace of our driver, but should not stay so."""
    if marketplace.driver != repositories.DRIVER:
        return ""
    return "; ".join(repositories.of_marketplace(marketplace, context.configuration.s3_credentials_file).warnings)


def _unreachable(context: Context, marketplace: Marketplace) -> str:
    if marketplace.driver == "http":
        return _http(marketplace.attributes.get("BASE_URL", ""))
    if marketplace.driver == "s3":
        return _s3(context, marketplace)
    if marketplace.driver == repositories.DRIVER:
        return _ours(context, marketplace)
    return ""


def _ours(context: Context, marketplace: Marketplace) -> str:
    """The template and the repository; the gateway has a finding of its own."""
    try:
        settings = repositories.shown(marketplace, context.configuration.s3_credentials_file, context.where)
        repositories.open(settings, context.where)
    except errors.Error as error:
        return str(error)
    return ""


def _http(url: str) -> str:
    """A server that lists no directory answers 403 or 404 for BASE_URL: that is an answer too."""
    import requests

    try:
        answer = requests.get(url, timeout=_TIMEOUT_S, stream=True)
        answer.close()
    except requests.exceptions.RequestException as error:
        return f"BASE_URL {url} does not answer ({type(error).__name__})"
    return f"BASE_URL {url} answers {answer.status_code} {answer.reason}" if answer.status_code >= 500 else ""


def _s3(context: Context, marketplace: Marketplace) -> str:
    path, bucket = context.configuration.s3_credentials_file, marketplace.attributes.get("BUCKET", "")
    try:
        keys = stored_object.site_credentials(path, marketplace.marketplace_id)
        stored_object.check_bucket(s3_marketplace.access(marketplace, *keys), bucket)
    except errors.Error as error:
        return str(error)
    return ""
