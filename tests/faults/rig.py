# SPDX-License-Identifier: Apache-2.0
"""What a worker of the matrix has for one version: a front-end of its own, the proxy before it, the fork server, and
a VM per scenario that is used from case to case while it is in good order."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Optional

from sandbox import process, servers
from tests.conftest import HttpMarket
from tests.e2e import machines
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site
from tests.faults import orphans, quick_driver
from tests.faults.fork_server import Ended, ForkServer
from tests.faults.striking import Striker

SPEED = 100.0
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
        web = self._stack.enter_context(servers.http_server(public_dir))
        self.server = HttpMarket(public_dir, web.url.rstrip("/"))
        quick_driver.install(self.folder / "one" / "remotes")
        self.front_end = self._stack.enter_context(process.start(self.folder / "one", version, speed=SPEED))
        self._watch.over(self.front_end.pid)
        self.proxy = self._stack.enter_context(Proxy(self.front_end.endpoint))
        self._clock_file = self.folder / "clock"
        self._forks = ForkServer()
        self._stack.callback(self._forks.close)
        self._sites: dict[str, tuple[Site, int]] = {}
        self._kvm = False

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    # -- onebackup

    def run(self, site: Site, arguments: list[object], striker: Optional[Striker] = None,
            strike: Optional[dict[str, Any]] = None) -> Ended:
        """One run of onebackup to its end, with a fault at a call (`striker`) or at a file operation (`strike`)."""
        self.proxy.watchers[:] = [striker] if striker is not None else []
        self.step_clock(0)
        environment = {**site.environment, "ONE_XMLRPC": self.proxy.endpoint}
        state = site.location / "var" / "onebackup"
        try:
            return self._forks.run(
                [str(item) for item in arguments], environment, state, strike or {}, self._clock_file, RUN_TIMEOUT_S)
        finally:
            if striker is not None:
                striker.release()
            self.proxy.watchers.clear()

    def signal(self, number: int) -> None:
        self._forks.signal(number)

    def forget_space(self) -> None:
        """From now on the run cannot write one byte into a file."""
        pid = self._forks.pid
        assert pid is not None
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def step_clock(self, seconds: int) -> None:
        """From now on the run's clock goes wrong by so many seconds."""
        new = self._clock_file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._clock_file)

    # -- the front-end

    def heal(self) -> None:
        """The front-end runs and does as it is told."""
        assert self.front_end.process is not None
        if self.front_end.process.poll() is not None:
            self.revive_front_end()
        self.front_end.control("clear")

    def kill_front_end(self) -> None:
        self._watch.no_more(self.front_end.pid)
        self.front_end.kill()

    def revive_front_end(self) -> None:
        self.front_end.restart()
        self._watch.over(self.front_end.pid)

    def fixture(self, scenario: str) -> tuple[Site, int]:
        """The site and the VM of a scenario: RUNNING, with one good restore point."""
        if scenario not in self._sites:
            self._sites[scenario] = self._make(scenario)
        return self._sites[scenario]

    def discard(self, scenario: str) -> None:
        """The scenario's VM and all around it are not fit for another case."""
        self.heal()
        if scenario not in self._sites:
            return  # it could not even be made
        site, vm_id = self._sites.pop(scenario)
        for method, *arguments in (("one.vm.unlock", vm_id), ("one.vm.action", "terminate-hard", vm_id)):
            _try(site, str(method), *arguments)
        for app in site.pool("marketapp"):
            if app.findtext("MARKETPLACE_ID") == str(site.market):
                _try(site, "one.marketapp.delete", int(app.findtext("ID", "")))

    def _make(self, scenario: str) -> tuple[Site, int]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        public_dir = Path(tempfile.mkdtemp(dir=self.server.public_dir))
        public_dir.chmod(0o755)
        site = Site(self.front_end, folder, HttpMarket(public_dir, f"{self.server.url}/{public_dir.name}"))
        self.configure(site)
        if scenario in ("backup-live", "backup-suspend"):
            if not self._kvm:
                machines.kvm_host(site)
                self._kvm = True
            vm_id = machines.machine(site, KVM_DISKS, more=ON_KVM)
        else:
            vm_id = machines.machine(site, DISKS)
        first = self.run(site, ["backup", vm_id])
        assert first.code == 0, first
        return site, vm_id

    def configure(self, site: Site, **timeouts: float) -> None:
        site.configure(timeouts={**TIMEOUTS, **timeouts}, terminated_vms="delete")


def _quick_place() -> str:
    """Memory where there is enough of it: thousands of fsyncs are waited for. Never /tmp: the web server runs as
    another user and must reach its files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES else "/var/tmp"


def _try(site: Site, method: str, *arguments: Any) -> None:
    try:
        site.call(method, *arguments)
    except process.Refused:
        pass  # what does not go away stays behind in a front-end that only we use


def settle(condition: Any, timeout_s: float = 5.0) -> bool:
    """Whether the condition comes to hold."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
