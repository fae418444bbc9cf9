# SPDX-License-Identifier: Apache-2.0
"""Where the hammer falls: one front-end, an HA pair of places for onebackup's state, our hooks, a few VMs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from lxml import etree

from sandbox import process, servers
from sandbox.demo import proof
from sandbox.process import Refused
from tests.conftest import HttpMarket
from tests.e2e import machines
from tests.e2e.machines import Disk
from tests.e2e.site import COMMAND, Site, unique, wait
from tests.faults.rig import TIMEOUTS
from tests.hooks.hooked import Hooked

SPEED = 30.0
#: A run that is still there so long after everything is quiet hangs.
QUIET_S = 150.0
GUEST_DISKS = (Disk(4, "qcow2", random=True), Disk(4, "raw", persistent=True, random=True))
TWO_DISKS = (Disk(1, random=True), Disk(2, "qcow2", persistent=True, random=True))
KVM_DISK = (Disk(1, "qcow2", random=True),)
RUNNING, POWEROFF, SUSPENDED, UNDEPLOYED = machines.RUNNING, machines.POWEROFF, machines.SUSPENDED, machines.UNDEPLOYED
DONE = machines.DONE


class Place(Site):
    """What tests/faults/seen.py needs of a corner: the bytes behind an app."""

    def stored(self, app: etree._Element) -> bytes:
        return self.stored_file(int(app.findtext("ID", ""))).read_bytes()


@dataclass
class Machine:
    """One VM. `wanted`: the power state that its user last asked for, or that it had. `contents`: of its disks,
    None where a guest writes. `resized`: nothing is known of its disks' bytes any more."""

    vm_id: int
    kind: str
    wanted: tuple[int, int] = RUNNING
    contents: Optional[list[proof.Content]] = None
    resized: bool = False


@dataclass
class Started:
    """A onebackup process: `code` once it has ended, -9 when we killed it."""

    what: str
    site: Place
    popen: subprocess.Popen[bytes]
    folder: Path
    vm_id: Optional[int] = None
    struck: bool = False

    @property
    def code(self) -> Optional[int]:
        return self.popen.poll()

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")


@dataclass
class Stage:
    """Use `with set_up(version) as stage`."""

    version: str
    folder: Path
    front_end: process.FrontEnd
    sites: list[Place]
    hooked: Hooked
    server: HttpMarket
    hosts: dict[str, list[int]]
    machines: list[Machine] = field(default_factory=list)
    ended: list[Machine] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    markets: list[int] = field(default_factory=list)
    #: Runs of which somebody deleted an app, VMs of which somebody changed BACKUP or deleted a restore point.
    deleted_runs: set[str] = field(default_factory=set)
    deleted_markets: set[int] = field(default_factory=set)
    robbed: set[int] = field(default_factory=set)

    def call(self, method: str, *arguments: Any) -> Any:
        return self.front_end.call(method, *arguments)

    def begin(self, site: Place, *arguments: object, vm_id: Optional[int] = None) -> Started:
        folder = Path(tempfile.mkdtemp(dir=self.folder / "runs"))
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            popen = subprocess.Popen([str(COMMAND), *map(str, arguments)], env=site.environment, stdout=out, stderr=err,
                                     stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        what = f"{'AB'[self.sites.index(site)]}: onebackup {' '.join(map(str, arguments))} (pid {popen.pid})"
        started = Started(what, site, popen, folder, vm_id)
        self.started.append(started)
        return started

    def running(self) -> list[Started]:
        return [item for item in self.started if item.code is None]

    def processes(self) -> list[int]:
        """Every onebackup process of this stage, also those that hooks and the timer started."""
        mark, found = f"ONE_LOCATION={self.folder}/".encode(), []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (place / "environ").read_bytes() and b"onebackup" in (place / "cmdline").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def machine(self, kind: str) -> Machine:
        """A new VM of a kind: `guest` writes to two disks, `plain` has two disks, `kvm` one disk and a kvm host."""
        disks, guest, host = {"guest": (GUEST_DISKS, True, "dummy"), "plain": (TWO_DISKS, False, "dummy"),
                              "kvm": (KVM_DISK, False, "kvm")}[kind]  # fmt: skip
        more = f'SCHED_REQUIREMENTS="HYPERVISOR={host}"'
        backup = f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{self.markets[0]}"'
        vm_id = machines.machine(self.sites[0], disks, guest=guest, more=more, backup=backup)
        contents = None if guest else machines.contents(machines.vm_disks(self.sites[0], vm_id))
        made = Machine(vm_id, kind, contents=contents)
        self.machines.append(made)
        return made

    def strike(self, pid: int, number: int) -> None:
        for item in self.started:
            item.struck = item.struck or item.popen.pid == pid
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def until_quiet(self) -> None:
        """No process of ours is left, nothing is under way at the front-end. Raises AssertionError when it hangs."""
        deadline = time.monotonic() + QUIET_S
        while self.running() or self.processes():
            left = [item.what for item in self.running()]
            assert time.monotonic() < deadline, f"still there after {QUIET_S} s: {left} {self.processes()}"
            time.sleep(0.1)
        wait("VMs, images and apps to settle", self._settled, 60)

    def _settled(self) -> bool:
        vms = {item.findtext("LCM_STATE") for item in self.sites[0].pool("vm") if item.findtext("STATE") in ("1", "3")}
        images = {item.findtext("STATE") for item in self.sites[0].pool("image")}
        apps = {item.findtext("STATE") for item in self.sites[0].pool("marketapp")}
        return vms <= {"3"} and not images & {"4", "7", "9", "10"} and "2" not in apps

    def try_call(self, method: str, *arguments: Any) -> str:
        """Empty when it was done, else why not."""
        try:
            self.call(method, *arguments)
            return ""
        except Refused as error:
            return str(error)

    def lead(self, which: int) -> None:
        """Which of the two front-ends is the leader."""
        self.front_end.control("raft", server_id=which, state=3)


class set_up:
    """Builds a stage, and takes it down again."""

    def __init__(self, version: str) -> None:
        self._version, self._stack = version, ExitStack()

    def __enter__(self) -> Stage:
        try:
            return self._build()
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> Stage:
        folder = Path(tempfile.mkdtemp(prefix="onebackup-hammer-", dir="/var/tmp"))
        folder.chmod(0o755)
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("public", "runs", "0", "1"):
            (folder / name).mkdir()
        web = self._stack.enter_context(servers.http_server(folder / "public"))
        server = HttpMarket(folder / "public", web.url.rstrip("/"))
        front_end = self._stack.enter_context(process.start(folder / "one", self._version, speed=SPEED))
        sites = [Place(front_end, folder / name, server) for name in "01"]
        for number, site in enumerate(sites):
            oned_conf = site.location / "etc" / "oned.conf"
            oned_conf.write_text(f'FEDERATION = [ MODE = "STANDALONE", SERVER_ID = {number} ]\n')
            site.configure(timeouts=TIMEOUTS, terminated_vms="delete", mode="POWEROFF", minimum_frequency_seconds=1)
        hooked = Hooked(sites[0])
        hooked.install()
        hosts = {kind: [int(front_end.call("one.host.allocate", unique(kind), kind, kind, 0)) for _ in range(2)]
                 for kind in ("dummy", "kvm")}  # fmt: skip
        stage = Stage(self._version, folder, front_end, sites, hooked, server, hosts)
        self._stack.callback(_end, stage)
        stage.markets = [site.market for site in sites]
        stage.lead(0)
        for kind in ("guest", "plain", "kvm"):
            stage.machine(kind)
        return stage


def _end(stage: Stage) -> None:
    for pid in stage.processes():
        stage.strike(pid, signal.SIGKILL)
    for item in stage.started:
        item.popen.wait(20)
