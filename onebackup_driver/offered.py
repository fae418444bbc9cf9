# SPDX-License-Identifier: Apache-2.0
"""Can OpenNebula download from the gateway now? Asked before anything is touched, and by the doctor."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from onebackup_driver import errors, served, stored_file
from onebackup_driver.site_rules import Gateway

SERVICE = "onebackup-gateway"
_TIMEOUT_S = 10
_GREETING = "onebackup gateway"


def gateway_problem(rules: Gateway) -> str:
    """What is wrong with the gateway of this front-end, its URL in it but not its token; empty when it answers. Raises
    UsageError when it is not configured as it must be."""
    import requests

    served.check(rules)
    url = f"{served.base_url(rules)}/"
    shown = f"the gateway {url.removesuffix(served.prefix(rules) + '/')}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # downloader.sh does not look at certificates either
            answer = requests.get(url, timeout=_TIMEOUT_S, verify=False)
    except requests.exceptions.RequestException as error:
        return f"{shown} does not answer ({type(error).__name__})"
    if answer.status_code != 200 or answer.text.strip() != _GREETING:
        return f"{shown} answers {answer.status_code}: that is not the gateway with this configuration"
    return ""


def check_gateway(rules: Gateway) -> None:
    """Raises Refused when nothing that is backed up now could be looked at, nor restored."""
    problem = gateway_problem(rules)
    if problem:
        raise errors.Refused(f"{problem}; start it: systemctl start {SERVICE} (or see: onebackup doctor)")


def check_disks(sources: Iterable[str]) -> None:
    """Those of these SOURCEs that are restore points in a repository are there. Raises Refused."""
    for source in sources:
        if served.parse(source) is None:
            continue
        try:
            stored_file.check_offered(source)
        except errors.Failed as error:
            raise errors.Refused(f"{error}; see: systemctl status {SERVICE}, onebackup doctor") from error
