# SPDX-License-Identifier: Apache-2.0
"""The seal on a restore point that is given to a VM's owner (app_owner: vm_owner).

An owner can rewrite every attribute of an app, and a restore by an admin carries out what is written there. The seal is
an HMAC with a key that only this front-end has, over everything a restore reads: a sealed app is as good as our own.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from lxml import etree

from onebackup_driver import xml_values

KEY_BYTES = 32
#: SEAL itself, and what we write later on.
_NOT_SEALED = ("SEAL", "KEEP")


def make(key: bytes, app: etree._Element) -> str:
    """The seal of a VMTEMPLATE app (one.marketapp.info), in hexadecimal digits. It is good for this app alone."""
    tags = xml_values.vector(app.find("TEMPLATE/ONEBACKUP"))
    content = [
        xml_values.text(app, "ID"),
        {name: value for name, value in tags.items() if name not in _NOT_SEALED},
        [xml_values.vector(item) for item in app.findall("TEMPLATE/ONEBACKUP_DISK")],
        [xml_values.vector(item) for item in app.findall("TEMPLATE/DISK")],
        [item.text or "" for item in app.findall("TEMPLATE/ONEBACKUP_VM")],
    ]
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def fits(key: bytes, app: etree._Element) -> bool:
    """Whether the app is as it was when it was sealed with this key."""
    said = xml_values.text(app, "TEMPLATE/ONEBACKUP/SEAL")
    return bool(said) and hmac.compare_digest(said.encode(), make(key, app).encode())
