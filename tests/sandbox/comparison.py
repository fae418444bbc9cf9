# SPDX-License-Identifier: Apache-2.0
"""Comparing two XML answers: elements, their order, CDATA, and every text that is not a matter of place or time."""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from lxml import etree

# Texts that depend on when, where or on which machine a front-end ran; their elements and CDATA are compared.
PLACE_AND_TIME = frozenset((
    "REGTIME", "MODTIME", "STIME", "ETIME", "PSTIME", "PETIME", "RSTIME", "RETIME", "ESTIME", "EETIME", "LAST_POLL",
    "TIME", "DATE", "TIMESTAMP", "REQ_ID", "REQUEST_ID", "PASSWORD", "TOKEN_PASSWORD", "UUID", "TOTAL_MB", "FREE_MB",
    "USED_MB", "BASE_PATH", "MD5", "FROM_APP_MD5", "SOURCE", "PORT", "PUBLIC_DIR", "BASE_URL", "ARGUMENTS", "COMMAND",
    "STDOUT", "STDERR", "PATH", "KVM_CPU_FEATURES", "KVM_CPU_MODELS",
))
# Elements whose text is an object id: the kind it belongs to.
KIND_OF = {
    "IMAGE_ID": "image", "SAVED_IMAGE_ID": "image", "ORIGIN_ID": "image", "FROM_APP": "marketapp", "NETWORK_ID": "vn",
    "MARKETPLACE_ID": "market", "TEMPLATE_ID": "template", "VMID": "vm", "OID": "vm", "SAVED_VM_ID": "vm",
    "HOOK_ID": "hook",
}
ROOTS = {"VM": "vm", "IMAGE": "image", "VMTEMPLATE": "template", "MARKETPLACE": "market", "MARKETPLACEAPP": "marketapp",
         "HOOK": "hook", "USER": "user", "VNET": "vn", "VMS": "vm", "MARKETPLACEAPPS": "marketapp", "IMAGES": "image"}
LISTS = {"VMS": "vm", "MARKETPLACEAPPS": "marketapp", "IMAGES": "image", "UPDATED_VMS": "vm"}
HARDWARE = frozenset(("PCI_DEVICES", "NUMA_NODES", "HOST_SHARE"))
HEX = re.compile(r"\b[0-9a-f]{32}\b")
CTIME = re.compile(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}")
Ids = Mapping[str, Mapping[int, int]]


def parse(text: str) -> etree._Element:
    return etree.fromstring(text.encode(), etree.XMLParser(strip_cdata=False, huge_tree=True))


def prepare(element: etree._Element, known: Mapping[str, set[str]]) -> etree._Element:
    """Takes out what is the machine's or of objects that only one side has: PCI devices, cores, foreign ids."""
    for devices in element.iter("PCI_DEVICES"):
        _keep(devices, [])
    for node in element.iter("NODE"):
        tags = [child.tag for child in node]
        _keep(node, [child for number, child in enumerate(node) if child.tag not in tags[:number]])
    for nodes in element.iter("NUMA_NODES"):
        _keep(nodes, list(nodes)[:1])
    for tag, kind in LISTS.items():
        for group in element.iter(tag):
            _keep(group, [child for child in group if child.text in known.get(kind, set())])
    return element


def _keep(parent: etree._Element, children: list[etree._Element]) -> None:
    for child in list(parent):
        if child not in children:
            parent.remove(child)


def lines(element: etree._Element, ids: Optional[Ids] = None, depth: int = 0) -> list[str]:
    """The answer as lines to compare; with `ids` (recorded id -> ours) ids are translated first."""
    children = list(element)
    text = element.text or ""
    kind = "![CDATA" if b"<![CDATA[" in etree.tostring(element).split(b">", 1)[-1][:9] else ""
    shown = "" if children else normal(element, text, ids)
    result = ["  " * depth + f"{element.tag}{kind}={shown}"]
    for child in children:
        result += lines(child, ids, depth + 1)
    return result


def normal(element: etree._Element, text: str, ids: Optional[Ids]) -> str:
    """A text without place and time, ids translated."""
    tag = element.tag
    if tag in PLACE_AND_TIME or any(parent.tag in HARDWARE for parent in element.iterancestors()):
        return "#" if text else ""
    kind = KIND_OF.get(tag)
    parent = element.getparent()
    if tag == "ID" and parent is not None:
        kind = ROOTS.get(parent.tag)
    if kind and ids is not None and text.lstrip("-").isdigit():
        return str(ids.get(kind, {}).get(int(text), text))
    if tag == "TARGET" and text.startswith("one-") or tag == "DEPLOY_ID":
        return re.sub(r"\d+", "#", text)
    text = CTIME.sub("#", HEX.sub("#", text))
    return re.sub(r"/\S*/(datastores|market)", r"/\1", text) if tag == "ERROR" else text
