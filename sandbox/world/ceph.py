# SPDX-License-Identifier: Apache-2.0
"""A whole Ceph in one directory: monitor, one OSD in memory, radosgw for S3; all on loopback.

What is not obvious (measured, ../shared/bench/s3.md): keys are needed even on loopback, for radosgw cannot
log in without; the monitor's 1 s pace of proposals would make every pool cost a second; without tcp_nodelay
each small request takes 40 ms. The data is in memory: it is gone with the processes.
"""
from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

from sandbox.world import ports
from sandbox.world.watchdog import Watchdog

PROGRAMS = ("ceph", "ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
_OSD_PORTS = 12
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = {osd_first}
ms bind port max = {osd_last}
run dir = {directory}/run
admin socket = {socket}
pid file = {directory}/run/$name.pid
log file = {directory}/log/$name.log
keyring = {directory}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 4000
mon data avail crit = 1
mon data avail warn = 2
[mon]
mon data = {directory}/mon
mon cluster log file = {directory}/log/cluster.log
mon initial members = a
auth allow insecure global id reclaim = false
paxos propose interval = 0.02
[osd]
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw dns name = localhost
"""
_KEYS = {
    "mon.": ["--cap", "mon", "allow *"],
    "client.admin": ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"],
    "client.rgw": ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"],
    "osd.0": ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"],
}


def missing_programs() -> list[str]:
    """Return which of the needed programs are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def start(watchdog: Watchdog, directory: Path, port: int) -> None:
    """Start all daemons; radosgw may need a second more to answer. Raises CalledProcessError, OSError."""
    for name in ("mon", "osd", "run", "log"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    monitor_ports, osd_ports = ports.free(2), ports.free(_OSD_PORTS)
    fsid = str(uuid.uuid4())
    (directory / "ceph.conf").write_text(
        _CONFIGURATION.format(
            fsid=fsid, directory=directory, port=port, mon_v2=monitor_ports, mon_v1=monitor_ports + 1,
            osd_first=osd_ports, osd_last=osd_ports + _OSD_PORTS - 1, socket="",
        )
    )
    _make_keys(directory)
    _start_monitor(watchdog, directory, fsid, monitor_ports)
    _start_osd(watchdog, directory)
    _spawn(watchdog, directory, "radosgw", "-n", "client.rgw")


def add_user(directory: Path, access_key: str, secret_key: str) -> None:
    """Make the S3 user; radosgw must be up."""
    keys = [f"--access-key={access_key}", f"--secret-key={secret_key}"]
    _run(directory, "radosgw-admin", "user", "create", "--uid=sandbox", "--display-name=Sandbox", *keys)


def _make_keys(directory: Path) -> None:
    keyring = str(directory / "keyring")
    for number, (name, capabilities) in enumerate(_KEYS.items()):
        create = [] if number else ["--create-keyring"]
        _run(directory, "ceph-authtool", *create, keyring, "--gen-key", "-n", name, *capabilities)


def _start_monitor(watchdog: Watchdog, directory: Path, fsid: str, first_port: int) -> None:
    addresses = f"[v2:127.0.0.1:{first_port},v1:127.0.0.1:{first_port + 1}]"
    monmap, keyring = str(directory / "monmap"), str(directory / "keyring")
    _run(directory, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monmap)
    _run(directory, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    _spawn(watchdog, directory, "ceph-mon", "-i", "a")


def _start_osd(watchdog: Watchdog, directory: Path) -> None:
    identity = str(uuid.uuid4())
    key = _run(directory, "ceph-authtool", str(directory / "keyring"), "-n", "osd.0", "-p").strip()
    _run(directory, "ceph", "--connect-timeout", "30", "osd", "new", identity, "0")
    _run(directory, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity, "--key", key)
    _spawn(watchdog, directory, "ceph-osd", "-i", "0")


def _spawn(watchdog: Watchdog, directory: Path, program: str, *arguments: str) -> None:
    argv = [program, "-c", str(directory / "ceph.conf"), *arguments, "-f"]
    watchdog.spawn(argv, directory / "log" / f"{program}.out", directory)


def _run(directory: Path, program: str, *arguments: str) -> str:
    """Run a tool; its words are in the error when it fails."""
    configuration = [] if program in ("ceph-authtool", "monmaptool") else ["-c", str(directory / "ceph.conf")]
    done = subprocess.run(
        [program, *configuration, *arguments], cwd=directory, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )
    if done.returncode != 0:
        raise OSError(f"{program} {' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
