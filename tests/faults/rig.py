# SPDX-License-Identifier: Apache-2.0
"""What a worker of the matrix has for one version: a front-end of its own, the proxy before it, the fork server, and
a VM per scenario that is used from case to case while it is in good order."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from sandbox import process, servers
from tests.conftest import HttpMarket
from tests.e2e import machines
from tests.e2e.proxy import Proxy
from tests.faults import clock_step, orphans, quick_driver
from tests.faults.corner import Corner, OwnCorner, S3Corner, S3Store
from tests.faults.fork_server import Ended, ForkServer
from tests.faults.gate import Gate
from tests.faults.settling import settle
from tests.faults.striking import Striker

SPEED = 100.0
#: `ENDPOINT KEY SECRET` of an S3 server that all workers share; without it each rig starts one when it needs it.
S3_VARIABLE = "FAULTS_S3_STORE"
_ROOM_BYTES = 2 * 2**30
RUN_TIMEOUT_S = 90.0
DISKS = (machines.Disk(1, random=True), machines.Disk(2, "qcow2", persistent=True, random=True))
KVM_DISKS = (machines.Disk(1, "qcow2", random=True), machines.Disk(1, "qcow2", random=True))
ON_KVM = 'SCHED_REQUIREMENTS="HYPERVISOR=kvm"'
#: Long enough for a loaded machine; what has to be short in a case is set by it.
TIMEOUTS = {"call_s": 20, "patience_s": 20, "power_off_s": 20, "power_on_s": 20, "save_disk_s": 20, "upload_s": 20,
            "download_s": 20, "boot_s": 20, "undo_s": 10}  # fmt: skip


class Rig:
    """Use as a context manager."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="onebackup-faults-", dir=_quick_place()))
        self.folder.chmod(0o755)
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._watch = orphans.Watch(self.folder)
        self._stack.callback(self._watch.close)
        public_dir = self.folder / "public"
        public_dir.mkdir()
        self._web = self._stack.enter_context(servers.http_server(public_dir))
        self._public_dir = public_dir
        quick_driver.install(self.folder / "one" / "remotes")
        self.front_end = self._stack.enter_context(process.start(self.folder / "one", version, speed=SPEED))
        self._watch.over(self.front_end.pid)
        self.proxy = self._stack.enter_context(Proxy(self.front_end.endpoint))
        self._clock = clock_step.Clock(self.folder)
        self._forks = ForkServer(self._clock.environment)
        self._stack.callback(self._forks.close)
        self._corners: dict[str, tuple[Corner, int]] = {}
        self._running: Optional[Corner] = None
        self._kvm = False

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        for corner, _ in self._corners.values():
            corner.end()
        self._corners.clear()
        self._stack.close()

    # -- onebackup

    def run(self, site: Corner, arguments: list[object], striker: Optional[Striker] = None,
            strike: Optional[dict[str, Any]] = None, clock_s: int = 0) -> Ended:
        """One run of onebackup to its end, with a fault at a call (`striker`) or at a file operation (`strike`); its
        clock is wrong by `clock_s`."""
        self.proxy.watchers[:] = [striker] if striker is not None else []
        self.step_clock(clock_s)
        self._running = site
        endpoint = self.proxy.endpoint if striker is not None else self.front_end.endpoint
        environment = {**site.environment, "ONE_XMLRPC": endpoint}
        try:
            return self._forks.run(
                [str(item) for item in arguments], environment, site.state, strike or {}, RUN_TIMEOUT_S)
        finally:
            if striker is not None:
                striker.release()
            self.proxy.watchers.clear()

    def signal(self, number: int) -> None:
        self._forks.signal(number)

    def fill_disk(self) -> None:
        """From now on there is no room for anything the run writes."""
        assert self._running is not None
        if self._running.small_disk:
            self._running.fill_disk()
            return
        pid = self._forks.pid
        assert pid is not None
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def gate(self) -> Gate:
        """What stands before the storage of the run that is under way."""
        assert self._running is not None
        return self._running.gate

    def step_clock(self, seconds: int) -> None:
        """From now on the run's clock goes wrong by so many seconds."""
        self._clock.step(seconds)

    # -- the front-end

    def heal(self) -> None:
        """The front-end runs and does as it is told."""
        assert self.front_end.process is not None
        if self.front_end.process.poll() is not None:
            self.revive_front_end()
        self.front_end.control("clear")
        for corner, _ in self._corners.values():
            corner.heal()

    def kill_front_end(self) -> None:
        self._watch.no_more(self.front_end.pid)
        self.front_end.kill()

    def revive_front_end(self) -> None:
        self.front_end.restart()
        self._watch.over(self.front_end.pid)

    def fixture(self, name: str) -> tuple[Corner, int]:
        """The corner and the VM of scenarios: RUNNING, with one good restore point. What comes before a `@` in the
        name is the kind of marketplace."""
        if name not in self._corners:
            self._corners[name] = self._make(name)
        return self._corners[name]

    def discard(self, name: str) -> None:
        """The fixture's VM and all around it are not fit for another case."""
        self.heal()
        if name not in self._corners:
            return  # it could not even be made
        site, vm_id = self._corners.pop(name)
        disks = [int(item.text or "-1") for item in site.info("vm", vm_id).findall("TEMPLATE/DISK/IMAGE_ID")]
        for method, *arguments in (("one.vm.unlock", vm_id), ("one.vm.action", "terminate-hard", vm_id)):
            _try(site, str(method), *arguments)
        for app_id in site.own_apps():
            _try(site, "one.marketapp.delete", app_id)
        if name.startswith("onebackup@"):
            settle(lambda: not site.own_apps())  # its driver needs what is ended now
        settle(lambda: site.vm_state(vm_id) == machines.DONE)
        for image_id in disks:
            _try(site, "one.image.delete", image_id)
        site.end()

    def _make(self, name: str) -> tuple[Corner, int]:
        corner = self._make_corner(name.split("@")[0])
        corner.options["terminated_vms"] = "delete" if name.endswith("@removal") else "keep"
        self.configure(corner)
        live = name.endswith(("@live", "@suspend"))
        if live and not self._kvm:
            machines.kvm_host(corner)
            self._kvm = True
        vm_id = machines.machine(corner, KVM_DISKS if live else DISKS, more=ON_KVM if live else "")
        first = self.run(corner, ["backup", vm_id])
        assert first.code == 0, first
        return corner, vm_id

    def _make_corner(self, kind: str) -> Corner:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        public_dir = Path(tempfile.mkdtemp(dir=self._public_dir))
        public_dir.chmod(0o755)
        gate = Gate(self._s3.port if kind == "s3" else self._web.port)
        server = HttpMarket(public_dir, f"{gate.url}/{public_dir.name}")
        if kind == "s3":
            return S3Corner(self.front_end, folder, server, gate, self._s3)
        if kind == "onebackup":
            return OwnCorner(self.front_end, folder, server, gate, self._watch)
        return Corner(self.front_end, folder, server, gate)

    @cached_property
    def _s3(self) -> S3Store:
        if S3_VARIABLE in os.environ:
            return S3Store(os.environ[S3_VARIABLE])
        store = self._stack.enter_context(servers.s3_server())
        return S3Store(f"{store.endpoint} {store.access_key} {store.secret_key}")

    def configure(self, site: Corner, **timeouts: float) -> None:
        site.configure(timeouts={**TIMEOUTS, **timeouts})


def _quick_place() -> str:
    """Memory where there is enough of it: thousands of fsyncs are waited for. Never /tmp: the web server runs as
    another user and must reach its files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES else "/var/tmp"


def _try(site: Corner, method: str, *arguments: Any) -> None:
    try:
        site.call(method, *arguments)
    except process.Refused:
        pass  # what does not go away stays behind in a front-end that only we use
