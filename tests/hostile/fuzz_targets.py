# SPDX-License-Identifier: Apache-2.0
"""One target for each parser: any bytes are read, or are one of our own errors, in time.

What a target returns means nothing. It raises for a defect: another exception than ours, or an assertion about what
came out of it. `seeds` are where mutations begin.
"""

from __future__ import annotations

import atexit
import base64
import io
import json
import logging
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from onebackup_driver import (
    acl,
    app,
    catalogue,
    configuration,
    errors,
    explaining,
    failures,
    journal,
    json_text,
    listing,
    locks,
    logs,
    manifest,
    names,
    networks,
    plain,
    policy,
    pool_vm,
    progress,
    queue,
    records,
    repositories,
    restore_template,
    s3_marketplace,
    schedule,
    served,
    source,
    stored_object,
    strays,
    template_text,
    units,
    vm,
    window,
    xml_text,
    xml_values,
)
from onebackup_driver.hooks import payload as hook_payload
from onebackup_driver.hooks import vm_update
from onebackup_driver.market import listed, parents
from onebackup_driver.market import payload as market_payload
from onebackup_driver.repository import image_header, location
from onebackup_driver.repository.format import cells, container, header, index, note, pack, recipe
from onebackup_driver.repository.format import manifest as manifest_format
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.site_rules import Configuration

DATA = Path(__file__).resolve().parents[1] / "data"
ROOT = DATA.parents[1]
_LIMIT = 64 * 1024 * 1024
_OURS = (errors.Error, xml_text.Unreadable, window.Bad)
_NOW = 1_795_000_000
_site = Configuration()
_folder = Path(tempfile.mkdtemp(prefix="onebackup-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_vault = Vault(bytes(16), None)


@dataclass(frozen=True)
class Target:
    """`group`: targets that are fuzzed together."""

    name: str
    group: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    def __call__(self, data: bytes) -> None:
        try:
            self.run(data)
        except _OURS as error:
            assert_one_line(plain.line(str(error)))


TARGETS: dict[str, Target] = {}


def target(group: str, *seeds: bytes) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    def register(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[function.__name__] = Target(function.__name__, group, function, seeds)
        return function

    return register


def text_of(data: bytes) -> str:
    """Any text, also such with lone surrogates, as it comes from the command line or from JSON."""
    return data.decode("utf-8", "surrogateescape" if data[:1] == b"\xff" else "replace")


def file_of(data: bytes, name: str = "file") -> Path:
    path = _folder / name
    path.write_bytes(data)
    return path


def assert_one_line(text: str) -> None:
    assert len(text.splitlines()) <= 1, ascii(text)[:200]
    controls = [character for character in text if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")]
    turning = set(text) & set("\u200e\u200f\u061c\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
    assert not controls and not turning, ascii(text)[:200]
    text.encode("utf-8")


def recorded(pattern: str, most: int = 4) -> tuple[bytes, ...]:
    found = [path.read_bytes() for path in sorted(DATA.glob(pattern))]
    return tuple(sorted((item for item in found if len(item) < 100_000), key=len)[:most])


# -- OpenNebula's objects


def _use_machine(element: etree._Element) -> None:
    machine = vm.parse(element)
    vm.permissions(element)
    _ = machine.snapshot_disk_ids, machine.error_text, str(machine.state)
    for keep_uuid in (True, False):
        assert_template(template_text.render(restore_template.body(machine, keep_uuid)))
    assert_template(template_text.render(restore_template.stock_text(machine)))
    assert_template(template_text.render(restore_template.disks(machine, {0: 1})))
    tag = manifest.tags(machine, "0" * 32, manifest.ROLE_VM, _NOW)
    made = manifest.vm_app("name", "TEXT", "7.4", tag, [manifest.SavedDisk(0, 1, "n", 1, "m", "raw")], machine)
    assert_template(made)
    kept = manifest.kept_vm(element)
    assert_name(names.backup(machine.name, "20261123_000000", "0" * 32))
    assert_name(names.restored(machine.name, "0" * 32))
    back = manifest.decode(manifest.encode(kept))
    if element.tag == "VM" and not element.attrib and element.prefix is None and not element.nsmap:
        assert xml_text.parse(back, _LIMIT).tag == "VM"
    _decide(pool_vm.parse(element))


def _decide(machine: pool_vm.PoolVm | None) -> None:
    if machine is None or machine.backup is None:
        return
    around = schedule.Circumstances(_site, _NOW, {}, {})
    decision = schedule.decide(machine, around)
    assert_one_line(plain.line(explaining.line(decision)))
    plain.document(explaining.as_data(decision))
    records.backup_section(machine.backup, [1, 2], _NOW, 100)
    records.without_action(machine.backup)
    schedule.plan([machine, machine], around)


def assert_template(text: str) -> None:
    """It can be sent in a call, and holds no end of oned's own CDATA."""
    assert "]]>" not in text
    etree.fromstring(f"<a><![CDATA[{text}]]></a>".encode(), etree.XMLParser(huge_tree=True))


def assert_name(name: str) -> None:
    assert len(name.encode()) <= names.LIMIT_BYTES
    assert not set(name) & set("&|:\\\";/'#{}$<>\n\r\t\0\x1b"), ascii(name)


@target("opennebula", *recorded("objects/*/vm-*.xml"))
def vm_object(data: bytes) -> None:
    _use_machine(xml_text.parse(text_of(data), _LIMIT))


@target(
    "opennebula",
    b'FREQUENCY_SECONDS\x0086400\0MARKETPLACE_ID\x00100\0MODE\0LIVE,SUSPEND\0WINDOW\00022:00-06:00\0TIME_ZONE\0UTC',
    b"LAST_BACKUP_TIME\x009999999999\0EXCLUDE_DISKS\x001,2\0ACTION\0NOW\0MARKETPLACE_APP_IDS\x001,2",
)
def backup_section(data: bytes) -> None:
    parts = text_of(data).split("\0")
    section = dict(zip(parts[::2], parts[1::2]))
    try:
        rules = policy.read(42, section, _site)
        policy.due_soon(rules, _NOW, 0.25)
        window.next_common([rules.window, window.parse("01:00-02:00")], _NOW)
    finally:
        text = records.backup_section(section, [1], _NOW, 100)
        if all(character >= " " for character in "".join(parts)):
            assert_template(text)
        records.status(records.ERROR, parts[0], _NOW, RUN=parts[-1])
        machine = pool_vm.PoolVm(42, parts[0], 2, vm.states.RUNNING, 0, 1, (1,), 1, 0, section, {})
        _decide(machine)


@target("opennebula", b"NAME\0web", b"CONTEXT\0START_SCRIPT\0]]>\\\0\"")
def template(data: bytes) -> None:
    parts = text_of(data).split("\0")
    vector = dict(zip(parts[::2], parts[1::2]))
    assert_template(template_text.render([(parts[0], parts[-1]), ("V", vector), *vector.items()]))
    assert_one_line(plain.line(template_text.one_line(parts[0])))


@target("opennebula", *recorded("objects/*/app*.xml", 6))
def app_object(data: bytes) -> None:
    element = xml_text.parse(text_of(data), _LIMIT)
    apps = [app.parse(element), *app.parse_pool(element)]
    for point in catalogue.build(apps, {item.uid for item in apps}):
        plain.document(listing.as_data(point))
        units.local_time(point.time)
        source._ours(point)
    for item in apps:
        source._source_disk(0, item, "", False)
        s3_marketplace.bucket_and_key(item.source)
        served.parse(item.source)
    manifest.read_vm(element)
    _run_of(element)


def _run_of(element: etree._Element) -> None:
    run = names.run_of_backup(xml_values.text(element, "NAME"))
    assert not run or (len(run) == 32 and run.isalnum())
    strays.Stray(run)


@target("opennebula", *recorded("objects/*/vm-*.xml", 2))
def kept_vm(data: bytes) -> None:
    root = etree.Element("MARKETPLACEAPP")
    etree.SubElement(etree.SubElement(root, "TEMPLATE"), "ONEBACKUP_VM").text = base64.b64encode(data).decode()
    found = manifest.read_vm(root)
    if found is not None:
        _use_machine(found)


@target("opennebula", *recorded("objects/*/market-*.xml"))
def marketplace_object(data: bytes) -> None:
    found = app.parse_marketplace(xml_text.parse(text_of(data), _LIMIT))
    try:
        s3_marketplace.access(found)
    except errors.Refused:
        pass
    repositories.of_marketplace(found)


@target("opennebula", b"<VNET><AR_POOL><AR><IP>10.0.0.1</IP><MAC>02:00:0a:00:00:01</MAC><SIZE>9</SIZE><LEASES><LEASE>"
        b"<IP>10.0.0.2</IP><VM>1</VM></LEASE></LEASES></AR></AR_POOL></VNET>")
def network_object(data: bytes) -> None:
    element = xml_text.parse(text_of(data), _LIMIT)
    nic = {"IP": xml_values.text(element, ".//LEASE/IP", "10.0.0.3"), "MAC": "02:00:0a:00:00:09"}
    networks.obstacle(element, nic)
    networks.new_mac(element, nic)
    networks.request(nic)


@target("opennebula", b"<ALL><ACL_POOL><ACL><ID>2</ID><USER>400000000</USER><RESOURCE>18000400000000</RESOURCE><RIGHTS>"
        b"1</RIGHTS><ZONE>400000000</ZONE><STRING>* MARKETPLACE/* USE *</STRING></ACL></ACL_POOL><USER><ID>3</ID><GID>1"
        b"</GID><GROUPS><ID>1</ID></GROUPS></USER><MARKETPLACEAPP><ID>5</ID><GID>0</GID></MARKETPLACEAPP></ALL>")
def acl_rules(data: bytes) -> None:
    element = xml_text.parse(text_of(data), _LIMIT)
    first = {name: next(iter(element.iter(name)), element) for name in ("ACL_POOL", "USER", "MARKETPLACEAPP")}
    rules, user = acl.parse_pool(first["ACL_POOL"]), acl.parse_user(first["USER"])
    assert acl.may_use(rules, acl.APP, first["MARKETPLACEAPP"], acl.User(0))
    acl.may_use(rules, acl.APP, first["MARKETPLACEAPP"], user)


@target("opennebula", b"22:00-06:00, 12:30-13:30\0Europe/Madrid", b"00:00-24:00\0UTC")
def backup_window(data: bytes) -> None:
    text, _, zone = text_of(data).partition("\0")
    found = window.parse(text, zone)
    moment = window.next_common([found, window.parse("02:00-02:30,14:00-15:00", zone)], _NOW)
    assert moment is None or moment >= _NOW
    assert window.next_common([found], _NOW) == (found.next_open(_NOW) if found.ranges else _NOW)


@target("opennebula", b"web - BACKUP", "\u202egnp.exe\x1b[2J\x9b31m".encode(), b"a\nERROR: b\r\x85\xe2\x80\xa8")
def shown_text(data: bytes) -> None:
    text = text_of(data)
    assert_one_line(plain.line(text))
    assert json.loads(plain.document([text])) == [text]
    record = logging.LogRecord("onebackup", logging.INFO, "", 0, "VM %s: %s", (42, text), None)
    assert_one_line(logs._StockFormatter().format(record))
    assert_name(names.safe(text))


# -- what hooks and the driver are handed


@target("payloads", *recorded("recordings/*/payloads/hook-*/stdin", 6), b"update " + base64.b64encode(b"<CALL_INFO/>"))
def hook_stdin(data: bytes) -> None:
    _use_hint(hook_payload.read([], io.BytesIO(data)))


@target("payloads", *recorded("recordings/*/payloads/hook-*/*.decoded.xml", 8))
def hook_argument(data: bytes) -> None:
    _use_hint(hook_payload.read(["update", base64.b64encode(data).decode()], io.BytesIO()))


def _use_hint(hint: hook_payload.Payload) -> None:
    call = hook_payload.call_info(hint)
    _ = call.object_id, call.error_code, vm_update._may_concern_us(call, hint)
    vm_id = hook_payload.vm_id(hint)
    assert vm_id is None or 0 <= vm_id < 10**9
    element = hook_payload.tree(hint)
    if element is not None:
        _use_machine(element)


@target("payloads", *recorded("recordings/*/payloads/market-*/*.decoded.xml", 6))
def driver_request(data: bytes) -> None:
    request = market_payload.read([base64.b64encode(data).decode(), "5"])
    parents.series(request)
    listed.attributes(request)
    _ = request.app, request.image, request.source


# -- files of ours, and the configuration


@target("files", (ROOT / "etc" / "onebackup.yaml").read_bytes(), b"timeouts: {call_s: 1e400}\nmode: !!bool maybe\n",
        b"allowed_marketplaces: &a [*a]\n", b"window: 2026-99-99\n")
def configuration_file(data: bytes) -> None:
    found = configuration.load(file_of(data))
    window.parse(found.window, found.time_zone)
    served.check(found.gateway)


_JOURNAL = {
    "format": 1, "run": "0" * 32, "kind": "backup", "vm_id": 42, "vm_name": "web", "began": 1, "pid": 1, "outcome": "",
    "facts": {"vm_uid": 2}, "steps": [{"kind": "power", "facts": {"vm_id": 42}, "ended": False}],
}  # fmt: skip


@target("files", json.dumps(_JOURNAL).encode(), b'{"format": 1, "vm_id": 1e999}', b"[" * 5000)
def journal_file(data: bytes) -> None:
    found = journal.load(file_of(data))
    assert isinstance(found.vm_id, int) and isinstance(found.facts, dict)


_REQUEST = {
    "format": 1, "vm_id": 42, "reason": "now", "requested_by": "x", "requested_at": 1, "queued_at": 1,
    "not_before": 0, "attempts": 0, "request_id": "0" * 32,
}  # fmt: skip


@target("files", json.dumps(_REQUEST).encode(), b'{"format": 1, "vm_id": Infinity}')
def queue_file(data: bytes) -> None:
    folder = _folder / "queue"
    for name in ("waiting", "claimed", "finished"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("waiting/vm-42.now.json", "finished/000000000001-x.json"):
        (folder / name).write_bytes(data)
    with _silent("onebackup.queue"):
        found = queue.waiting(folder)
        assert all(item.file_name == "vm-42.now.json" for item in found)
        queue.finished(folder)
        for item in queue.take(folder):
            queue.finish(folder, item, "done")


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """What is logged there is not shown meanwhile; other tests in this process see theirs."""
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


@target("files", b'{"format": 1, "failures": {"42": {"times": 1, "last": 1, "reason": "r", "section": "s"}}}',
        b'{"pid": 1, "since": 1, "doing": "x"}',
        b'{"vm_id": 1, "vm_name": "a", "pid": 1, "pid_began": 1, "began": 1, "step": "x"}')
def small_files(data: bytes) -> None:
    path = file_of(data)
    for row in failures.load(path).values():
        schedule.retry.pause_s(row.times, _site.retry)
        units.local_time(row.last)
    assert_one_line(plain.line(locks._holder(path)))
    folder = _folder / "progress"
    folder.mkdir(exist_ok=True)
    (folder / "vm-1.json").write_bytes(data)
    progress.running(folder)
    try:
        json_text.parse(data)
    except ValueError:
        pass


@target("files", b"[100]\naws_access_key_id = a\naws_secret_access_key = b\n", b"[default]\naws_access_key_id: %(x)s\n")
def credentials_file(data: bytes) -> None:
    try:
        stored_object.site_credentials(str(file_of(data)), 100)
    except errors.Error as error:
        assert b"secret" not in data.lower() or "secret" not in str(error).lower()


@target("files", b"dir:/var/lib/one\0QUOTA_MB\x0010", b"s3://b/p\0ACCESS_KEY_ID\0a\0SECRET_ACCESS_KEY\0b")
def repository_place(data: bytes) -> None:
    place, *rest = text_of(data).split("\0")
    location.parse(place, dict(zip(rest[::2], rest[1::2])))


# -- objects of a repository: sealed by whoever may write to it


@target("repository", header.encode(header.Header(bytes(16), 1, header.Parameters(), False), _vault))
def repository_header(data: bytes) -> None:
    header.decode(data, None)
    header.decode(data, bytes(32))


def _sealed(magic: bytes, sections: Iterable[bytes]) -> bytes:
    parts = [container.seal(magic, _vault, bytes(16), number, part) for number, part in enumerate(sections)]
    return container.encode(magic, _vault, bytes(16), parts)


_HEAD = {"created": 1, "size_bytes": 1, "parent": "", "facts": {}, "data_bytes": 0, "new_bytes": 0, "stored_bytes": 0,
         "sections": ["0" * 64, "1" * 64]}  # fmt: skip


@target("repository", json.dumps(_HEAD).encode(), json.dumps({**_HEAD, "created": 1e300}).encode())
def manifest_head(data: bytes) -> None:
    magic = manifest_format._MAGIC
    stored = _sealed(magic, [data, b"", b""])
    places = container.decode(magic, _vault, stored, (3,), "x")
    offset, length = places.sections[0]
    sealed = stored[offset : offset + length]
    try:
        head = json.loads(data)
        name = manifest_format._name(int(head["created"]), head.get("micros"), bytes(16), sealed)
    except Exception:
        name = manifest_format._name(1, None, bytes(16), sealed)
    parts = manifest_format.decode_head(_vault, name, places, sealed)
    facts = parts.manifest.facts
    units.local_time(parts.manifest.created)
    assert isinstance(facts, dict)
    from onebackup_driver.cli import repository_shown

    assert_one_line(plain.line(repository_shown._line(parts.manifest)))


def _cells() -> bytes:
    made = cells.Cells()
    for number in (0, 1, 5):
        made.append(cells.Cell(number, bytes(32), 0, number, cells.UNKNOWN))
    return made.encode()


_FACTS = {"kind": "disk", "format": "raw", "md5": "0" * 32, "app": [["NAME", "a"]]}


@target("repository", json.dumps(_FACTS).encode(), json.dumps({**_FACTS, "app": [["ONEBACKUP", {"RUN": 1}]]}).encode(),
        b'{"kind": "vm", "run": "r", "disks": 1, "text": "<TEMPLATE><NAME>a</NAME></TEMPLATE>"}')
def manifest_facts(data: bytes) -> None:
    from onebackup_driver.cli import repository_work

    try:
        facts = json_text.parse(data)
    except ValueError:
        return
    made = manifest_format.Manifest("n", 1, 1, "", facts if isinstance(facts, dict) else {}, 0, 0, 0)
    assert_one_line(plain.line(repository_work.what(made)))
    runs = listed.runs_of_disks([made])
    if served.has_good_facts(made) and made.facts.get("kind") == served.VM:
        listed.is_whole(made, runs)
        assert_template(listed._vm(made).replace("]]>", ""))


@target("repository", _cells())
def manifest_cells(data: bytes) -> None:
    found = cells.decode(data, b"", "x")
    try:
        list(cells.decode(_cells(), data, "x"))
    except errors.Error:
        pass
    rows = list(found)
    assert [row.number for row in rows] == sorted({row.number for row in rows})
    assert all(found.row(row.number) >= 0 and len(row.cell_id) == 32 for row in rows)
    assert found.encode() == data


_TABLE = b"\1\0\0\0\1\0\0\0" + bytes(16) + recipe.encode(
    recipe.Recipe(bytes(32), 512, (recipe.Frame(bytes(16), 0, 10, 512),), b"\0\0", bytes(16)), {bytes(16): 0}
)


@target("repository", _TABLE)
def pack_table(data: bytes) -> None:
    sealed = container.seal(pack._MAGIC, _vault, bytes(16), 7, data)
    table = pack.decode_table(_vault, pack.Entry(bytes(16), 1, 7, len(sealed)), sealed)
    for number in range(min(50, len(table.offsets))):
        recipe.check(table.recipe(number), 512, 4096, "x")


@target("repository", bytes(100), pack.Entry(bytes(16), 1, 2, 3).encode() + bytes(16) + b"\1\0\0\0" + bytes(16))
def pack_lists(data: bytes) -> None:
    for decode in (manifest_format.decode_packs, index.decode_used):
        try:
            decode("x", data)
        except errors.Error:
            pass
    pack.decode_trailer(data, bytes(16), len(data))


@target("repository", index._HEAD.pack(1, 1, 0) + bytes(36) + b"\1\0\0\0" + bytes(16))
def index_object(data: bytes) -> None:
    name = "index/1-1-" + "0" * 32
    head, packs, buckets = data[:17], data[17:53], data[53:]
    stored = _sealed(index._MAGIC, [head, packs, b"", buckets])
    places = container.decode(index._MAGIC, _vault, stored, (4,), name)
    sealed = [stored[offset : offset + length] for offset, length in places.sections]
    places = container.Places(bytes(16), (*places.sections, (len(stored), 0)), places.end)
    found = index.decode_directory(_vault, name, places, [sealed[0], sealed[1], sealed[3]])
    for bucket in range(min(8, found.bucket_count())):
        offset, length = found.bounds(bucket)
        assert 0 <= length <= index.RECORD_BYTES
        found.check(_vault, bucket, b"")
    found.bucket_of(bytes(32))
    found.entry(0)


@target("repository", b"index/1-2-" + b"0" * 32, b"manifests/20261123T000000Z-" + b"0" * 32, b"packs/00/" + b"0" * 32)
def object_names(data: bytes) -> None:
    text = text_of(data)
    for parse in (index.parse_name, pack.id_of, manifest_format.check_name, served.parse):
        try:
            parse(text)  # type: ignore[operator]
        except errors.Error:
            pass


@target("repository", b'{"reason": "unused", "packs": ["' + b"0" * 32 + b'"]}',
        b'{"run": "r", "began": 1, "time": 2, "packs": [], "finished": true}')
def notes(data: bytes) -> None:
    for prefix in (note.CONDEMNED, note.VERIFIED):
        sealed = container.seal(note._MAGIC + prefix.encode(), _vault, bytes(16), 0, data)
        stored = container.encode(note._MAGIC, _vault, bytes(16), [sealed])
        try:
            content = note.decode(_vault, f"{prefix}{'0' * 32}", stored)
        except errors.Error:
            continue
        assert all(len(bytes.fromhex(item)) == 16 for item in content["packs"])


@target("repository", _sealed(b"OBMANI01", [b"a", b"b", b"c"]))
def containers(data: bytes) -> None:
    for magic, count in ((b"OBMANI01", 3), (b"OBINDX01", 5), (b"OBNOTE01", 1)):
        try:
            places = container.decode(magic, _vault, data, (count,), "x")
            for number, (offset, length) in enumerate(places.sections):
                plain_bytes = container.open_section(
                    magic, _vault, places.object_id, number, data[offset : offset + length], "x"
                )
                assert len(plain_bytes) < _LIMIT * 2
        except errors.Error:
            pass


# -- the gateway, and images


@target("gateway", b"bytes=0-499", b"bytes=-500", b"bytes=9500-", b"bytes=5-2", b"bytes=" + b"9" * 5000 + b"-")
def range_header(data: bytes) -> None:
    from aiohttp.test_utils import make_mocked_request

    from onebackup_driver.gateway import server

    value = data.decode("utf-8", "replace").replace("\r", "").replace("\n", "")
    for size in (0, 10_000):
        for name, other in (("Range", "If-Range"), ("If-Range", "Range")):
            request = make_mocked_request("GET", "/", headers={name: value, other: "bytes=1-2"})
            part = server._range(request, size, '"tag"')
            assert part is None or (0 <= part[0] <= part[1] <= size and part[2] in (200, 206))


@target("gateway", b"/" + b"0" * 32 + b"/20261123T000000Z-" + b"0" * 32 + b"/disk.qcow2", b"/../../etc/passwd")
def gateway_path(data: bytes) -> None:
    found = served.parse(text_of(data))
    if found is not None:
        assert all(part.isascii() and part.replace("-", "0").isalnum() for part in found)
        manifest_format.check_name(found[1])


def _qcow2() -> bytes:
    from onebackup_driver.gateway.qcow2 import Qcow2

    made = Qcow2(2**20, [(0, 65536)])
    start = b"".join(piece.literal or b"" for piece in made.pieces(0, 4096))
    return start[:20] + start[20:]


@target("gateway", _qcow2()[:4096])
def qcow2_header(data: bytes) -> None:
    path = file_of(data, "image")
    for layer in image_header.layers(path):
        assert 0 <= layer.size_bytes <= image_header.LARGEST_BYTES
        assert layer.path.parent in (path.parent, path.with_name("image.snap"))
