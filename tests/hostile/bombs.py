# SPDX-License-Identifier: Apache-2.0
"""Small inputs that grow, and large ones: run in a process of its own with little memory (test_bombs.py starts it).

Each says what became of it: an error of ours, or how it was read.
"""

from __future__ import annotations

import base64
import io
import json
import resource
import sys
import time
from collections.abc import Callable

import zstandard
from lxml import etree

from onebackup_driver import (
    app,
    catalogue,
    configuration,
    errors,
    json_text,
    manifest,
    plain,
    policy,
    pool_vm,
    records,
    restore_template,
    template_text,
    vm,
    xml_rpc,
    xml_text,
)
from onebackup_driver.hooks import payload as hook_payload
from onebackup_driver.hooks import vm_update
from onebackup_driver.market import payload as market_payload
from onebackup_driver.repository.format import cells, container, index, pack
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.site_rules import Configuration

MEMORY_BYTES = 2 * 1024**3
MB = 1024 * 1024
_vault = Vault(bytes(16), None)
_LAUGHS = "<!DOCTYPE VM [<!ENTITY a '" + "ha" * 50 + "'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 30}'>" for n in range(9)
) + "]>"


def billion_laughs() -> str:
    text = f"{_LAUGHS}<VM A='&j;'><ID>1</ID><NAME>&j;</NAME></VM>"
    refused = []
    for door in (
        lambda: xml_text.parse(text, 2**30),
        lambda: xml_text.parse(f"<?xml version='1.0'?><!-- x -->{text}", 2**30),
        lambda: market_payload.read([base64.b64encode(text.encode()).decode(), "1"]),
        lambda: xml_rpc.decode(text.replace("VM", "methodResponse").encode()),
    ):
        try:
            door()
        except Exception as error:
            refused.append(type(error).__name__)
    assert len(refused) == 4, refused
    assert hook_payload.tree(hook_payload.Payload(text)) is None
    assert manifest.read_vm(_app_with(text)) is None
    assert manifest.read_vm(_app_with(f"<VM>{_LAUGHS}&j;</VM>")) is None
    return " ".join(refused)


def _app_with(text: str) -> etree._Element:
    root = etree.fromstring("<MARKETPLACEAPP><TEMPLATE><ONEBACKUP_VM/></TEMPLATE></MARKETPLACEAPP>")
    root[0][0].text = base64.b64encode(text.encode()).decode()
    return root


def files_and_networks() -> str:
    for outside in ("file:///etc/passwd", "http://127.0.0.1:9/x", "/dev/zero"):
        for text in (
            f"<!DOCTYPE VM SYSTEM '{outside}'><VM><ID>1</ID></VM>",
            f"<!DOCTYPE VM [<!ENTITY x SYSTEM '{outside}'>]><VM><NAME>&x;</NAME></VM>",
            f"<!DOCTYPE VM [<!ENTITY % x SYSTEM '{outside}'> %x;]><VM/>",
            f"<?xml-stylesheet href='{outside}'?><VM/>",
        ):
            _refused(lambda text=text: xml_text.parse(text, MB))  # type: ignore[misc]
    return "refused"


def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except (errors.Error, ValueError):
        return
    raise AssertionError("it was read")


def deep_xml() -> str:
    for depth in (300, 3000, 3_000_000):
        _refused(lambda depth=depth: xml_text.parse("<a>" * depth + "</a>" * depth, 2**30))  # type: ignore[misc]
    return "refused"


def large_attribute() -> str:
    text = f"<VM><ID>1</ID><NAME>a</NAME><USER_TEMPLATE><BACKUP><MODE>{'POWEROFF,' * 100_000}</MODE></BACKUP><X>"
    text += "<![CDATA[" + "x" * (100 * MB) + "]]></X></USER_TEMPLATE></VM>"
    element = xml_text.parse(text, 2**30)
    del text
    machine = vm.parse(element)
    found = pool_vm.parse(element)
    assert found is not None and machine.vm_id == 1
    _refused(lambda: policy.read(1, found.backup, Configuration()))
    rendered = template_text.render(restore_template.user_attributes(machine))
    return f"{len(rendered) // MB} MB"


def many_attributes() -> str:
    text = "<VM><ID>1</ID><USER_TEMPLATE>" + "<A><B>1</B></A>" * 300_000 + "</USER_TEMPLATE></VM>"
    machine = vm.parse(xml_text.parse(text, 2**30))
    return f"{len(restore_template.user_attributes(machine))} attributes"


def large_numbers() -> str:
    digits = "9" * 100_000
    element = xml_text.parse(
        f"<MARKETPLACEAPP><ID>{digits}</ID><SIZE>{digits}</SIZE><TEMPLATE><ONEBACKUP><RUN>r</RUN><ROLE>vm</ROLE>"
        f"<VM_ID>{digits}</VM_ID><TIME>-{digits}</TIME></ONEBACKUP></TEMPLATE></MARKETPLACEAPP>", 2**30,
    )  # fmt: skip
    assert app.parse(element).app_id == -1
    catalogue.build([app.parse(element)], {-1})
    for text in (digits, "-1", "1e5", "NaN", "inf", "²", "0x10", ""):
        _refused(lambda text=text: policy.read(1, {"FREQUENCY_SECONDS": text, "MARKETPLACE_ID": "1"}, Configuration()))  # type: ignore[misc]
    for text in (digits, f"[{digits}]", "1e999999", "NaN", "-Infinity"):
        _refused(lambda text=text: json_text.whole(json_text.parse(text)))  # type: ignore[misc]
    records.status(records.ERROR, "m", 10**18)
    return "refused"


def deep_json() -> str:
    for text in ("[" * 10**6, '{"a":' * 10**6, '{"format":1,"steps":' + "[" * 10**6):
        _refused(lambda text=text: json_text.parse(text))  # type: ignore[misc]
    return "refused"


def yaml_bombs() -> str:
    laughs = "a: &a [" + ",".join(["x"] * 10) + "]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(12)
    )
    values = "allowed_marketplaces: [&a [x, x, x, x, x, x, x, x, x, x], &b [" + ", ".join(["*a"] * 10) + "]"
    for n in range(1, 12):
        values += f", &{chr(98 + n)} [" + ", ".join([f"*{chr(97 + n)}"] * 10) + "]"
    deep = ("window: " + "[" * 100_000, "{" * 100_000, "? " * 50_000, "- " * 10_000)
    code = "window: !!python/object/apply:os.system [id]"
    for text in (laughs, values + "]", *deep, "a: &a [*a]", code, "window: " + "x" * (2 * MB)):
        try:
            configuration.parse(text, "x")
        except errors.UsageError as error:
            assert len(str(error)) < 2000
            continue
        raise AssertionError(text[:40])
    return "refused"


def quadratic_texts() -> str:
    opened = "<PARAMETER><POSITION>1</POSITION><TYPE>IN</TYPE><VALUE>"
    head = "<CALL_INFO><RESULT>1</RESULT><PARAMETERS>"
    for text in (
        head + opened * 200_000, head + "<PARAMETER>" * 10**6, head + "<PARAMETER>" + " " * 10**6 + opened,
        " " * 10**7 + "<x", head + "</VALUE>" + " " * 10**6, "<CALL_INFO><RESULT>" + " " * 10**6,
        head + f"{opened}&#{'9' * 10**6};</VALUE></PARAMETER>",
    ):  # fmt: skip
        stream = io.BytesIO(base64.b64encode(text.encode()))
        try:
            hint = hook_payload.read([], stream)
        except hook_payload.Unusable:
            continue
        vm_update._may_concern_us(hook_payload.call_info(hint), hint)
        hook_payload.vm_id(hint)
        plain.line(text)
    return "read"


def sealed_bombs() -> str:
    magic = b"OBMANI01"
    packed = zstandard.ZstdCompressor().compress(bytes(900 * MB))
    sealed = _vault.seal(magic, bytes(16), 0, packed)
    _refused(lambda: container.open_section(magic, _vault, bytes(16), 0, sealed, "x"))
    _refused(lambda: cells.decode(b"\xff" * 8 + bytes(1000), b"", "x"))
    _refused(lambda: index.decode_used("x", bytes(16) + b"\xff\xff\xff\xff"))
    table = container.seal(pack._MAGIC, _vault, bytes(16), 0, b"\xff" * 8 + bytes(100))
    _refused(lambda: pack.decode_table(_vault, pack.Entry(bytes(16), 1, 0, len(table)), table))
    return "refused"


def large_shown() -> str:
    assert len(plain.line("\x1b" * 10**6)) == 4 * 10**6
    json.loads(plain.document(["\u202e" * 10**6]))
    return "shown"


BOMBS = (
    billion_laughs, files_and_networks, deep_xml, large_attribute, many_attributes, large_numbers, deep_json,
    yaml_bombs, quadratic_texts, sealed_bombs, large_shown,
)  # fmt: skip


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for bomb in BOMBS:
        began = time.process_time()
        said = bomb()
        print(f"{bomb.__name__} {time.process_time() - began:.2f} {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
