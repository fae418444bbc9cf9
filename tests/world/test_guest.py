# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.world import disks, guest
from sandbox.world.guest import GuestDisk

from .conftest import has_pattern, write_pattern

PROJECT = Path(__file__).resolve().parents[2]


def until(happened: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def counter(disk: GuestDisk) -> int:
    return guest.inspect([disk]).counters[0] or 0


def goes_on(disk: GuestDisk, records: int = 3) -> None:
    before = counter(disk)
    until(lambda: counter(disk) >= before + records, "the guest writes")


@pytest.fixture
def pair(tmp_path: Path) -> list[GuestDisk]:
    """A raw disk and a qcow2 overlay on an image with user data, as one VM may have them."""
    disks.create(tmp_path / "disk.0", 8, "raw")
    disks.create(tmp_path / "image", 16, "qcow2")
    write_pattern(tmp_path / "image", "qcow2", 0x77, 0, 16)
    disks.deploy(tmp_path / "image", tmp_path / "disk.1", "qcow2")
    return [GuestDisk(tmp_path / "disk.0", "raw"), GuestDisk(tmp_path / "disk.1", "qcow2")]


def save_all(pair: list[GuestDisk], directory: Path) -> list[GuestDisk]:
    directory.mkdir()
    for disk in pair:
        disks.save_as(disk.path, directory / disk.path.name, disk.format)
    return [GuestDisk(directory / disk.path.name, disk.format) for disk in pair]


def test_clean_stop_proves_itself_in_flat_copies(machine: Path, pair: list[GuestDisk], tmp_path: Path) -> None:
    running = guest.start(machine, pair)
    goes_on(pair[0])
    guest.stop(machine)

    assert not Path("/proc", str(running.pid)).exists()
    assert not guest.is_running(machine)
    evidence = guest.inspect(save_all(pair, tmp_path / "saved"))
    assert evidence.consistent
    assert not evidence.torn
    assert evidence.counters[0] == evidence.counters[1]


def test_power_cut_leaves_intact_records_but_no_clean_mark(machine: Path, pair: list[GuestDisk]) -> None:
    guest.start(machine, pair)
    goes_on(pair[1])
    guest.kill(machine)

    evidence = guest.inspect(pair)
    assert evidence.intact
    assert not evidence.clean
    assert not evidence.consistent
    first, second = evidence.counters
    assert first is not None and second is not None and 0 <= first - second <= 1
    guest.kill(machine)  # again: nothing to do


def test_copies_of_a_running_guest_are_told_from_consistent_ones(
    machine: Path, pair: list[GuestDisk], tmp_path: Path
) -> None:
    guest.start(machine, pair, records_per_second=100)
    disks.live_save_as(pair[0].path, tmp_path / "a", "raw")
    goes_on(pair[0])
    disks.live_save_as(pair[1].path, tmp_path / "b", "qcow2")

    evidence = guest.inspect([GuestDisk(tmp_path / "a", "raw"), GuestDisk(tmp_path / "b", "qcow2")])
    assert evidence.intact
    assert evidence.torn
    assert not evidence.consistent


def test_each_live_copy_is_consistent_in_itself(machine: Path, pair: list[GuestDisk], tmp_path: Path) -> None:
    guest.start(machine, pair, records_per_second=2000)
    seen = set()
    for _ in range(15):
        for disk in pair:
            disks.live_save_as(disk.path, tmp_path / "copy", disk.format)
            evidence = guest.inspect([GuestDisk(tmp_path / "copy", disk.format)])
            assert evidence.intact
            seen.add(evidence.counters[0])
    assert len(seen) > 5, "the guest did not write meanwhile"


@pytest.mark.parametrize("copy", ["live copy", "snapshot"])
def test_copies_and_the_guest_s_writes_exclude_each_other(
    machine: Path, pair: list[GuestDisk], tmp_path: Path, copy: str
) -> None:
    """Whoever holds a disk's lock keeps the guest from writing to it and a copy from reading it."""
    guest.start(machine, pair, records_per_second=2000)
    disk = pair[1]
    with ThreadPoolExecutor(1) as pool, open(disk.path, "rb") as stream:  # unlocked before the pool waits
        fcntl.flock(stream, fcntl.LOCK_EX)
        before = disk.path.read_bytes()
        if copy == "snapshot":
            copied = pool.submit(disks.snapshot, disk.path, 0)
        else:
            copied = pool.submit(disks.live_save_as, disk.path, tmp_path / "copy", "qcow2")
        time.sleep(0.2)
        assert disk.path.read_bytes() == before, "the guest wrote while another held the lock"
        assert not copied.done(), "the copy did not wait for the lock"
        fcntl.flock(stream, fcntl.LOCK_UN)
        copied.result(timeout=20)
    goes_on(disk)


def test_snapshot_under_a_running_guest_is_consistent_in_itself(
    machine: Path, pair: list[GuestDisk], tmp_path: Path
) -> None:
    guest.start(machine, pair, records_per_second=2000)
    for number in range(5):
        disks.snapshot(pair[1].path, number)
    taken = counter(pair[1])
    goes_on(pair[1])
    disks.save_snapshot_as(pair[1].path, 4, tmp_path / "saved", "qcow2")
    evidence = guest.inspect([GuestDisk(tmp_path / "saved", "qcow2")])
    assert evidence.intact
    assert (evidence.counters[0] or 0) <= taken
    assert has_pattern(tmp_path / "saved", "qcow2", 0x77, 0, 15)


def test_suspend_keeps_memory(machine: Path, pair: list[GuestDisk]) -> None:
    guest.start(machine, pair)
    goes_on(pair[0])
    guest.pause(machine)
    paused = guest.inspect(pair)
    before = [disk.path.read_bytes() for disk in pair]
    time.sleep(0.2)
    assert [disk.path.read_bytes() for disk in pair] == before, "a suspended guest wrote"
    assert paused.same_moment
    assert not paused.clean

    guest.resume(machine)
    goes_on(pair[0])
    guest.stop(machine)
    stopped = guest.inspect(pair)
    assert stopped.consistent
    assert stopped.disks[0].boot == paused.disks[0].boot
    assert (stopped.counters[0] or 0) > (paused.counters[0] or 0)


def test_resume_on_moved_files(machine: Path, pair: list[GuestDisk], tmp_path: Path) -> None:
    guest.start(machine, pair)
    guest.pause(machine)
    moved = save_all(pair, tmp_path / "elsewhere")
    for disk in pair:
        disk.path.unlink()
    guest.resume(machine, moved)
    goes_on(moved[1])
    guest.stop(machine)
    assert guest.inspect(moved).consistent


def test_suspended_guest_can_be_shut_down_and_killed(machine: Path, pair: list[GuestDisk]) -> None:
    guest.start(machine, pair)
    guest.pause(machine)
    guest.stop(machine)
    assert guest.inspect(pair).consistent
    guest.start(machine, pair)
    guest.pause(machine)
    guest.kill(machine)
    assert not guest.inspect(pair).clean


def test_next_boot_counts_on_and_takes_the_mark_away(machine: Path, pair: list[GuestDisk]) -> None:
    guest.start(machine, pair)
    goes_on(pair[0])
    guest.stop(machine)
    first = guest.inspect(pair)
    guest.start(machine, pair)
    guest.kill(machine)
    second = guest.inspect(pair)
    assert second.intact
    assert not second.clean
    assert (second.counters[0] or 0) > (first.counters[0] or 0)
    assert second.disks[0].boot != first.disks[0].boot


def test_user_data_and_images_stay_whole(machine: Path, pair: list[GuestDisk], tmp_path: Path) -> None:
    write_pattern(pair[0].path, "raw", 0x55, 0, 7)
    image = (tmp_path / "image").read_bytes()
    for end in (guest.stop, guest.kill):
        guest.start(machine, pair)
        write_pattern(pair[1].path, "qcow2", 0x66, 3, 2)  # a user's write while the guest runs
        goes_on(pair[1])
        end(machine)
    assert has_pattern(pair[0].path, "raw", 0x55, 0, 7)
    assert has_pattern(pair[1].path, "qcow2", 0x77, 0, 3)
    assert has_pattern(pair[1].path, "qcow2", 0x66, 3, 2)
    assert has_pattern(pair[1].path, "qcow2", 0x77, 5, 10)
    assert (tmp_path / "image").read_bytes() == image, "the guest wrote through the overlay"
    checked = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(pair[1].path)], check=False)
    assert checked.returncode == 0


def test_guest_outlives_the_sandbox_and_is_found_again(machine: Path, pair: list[GuestDisk]) -> None:
    code = (
        "import sys; from pathlib import Path; from sandbox.world import guest\n"
        "disks = [guest.GuestDisk(Path(path), format) for path, format in zip(sys.argv[2::2], sys.argv[3::2])]\n"
        "guest.start(Path(sys.argv[1]), disks)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [text for disk in pair for text in (str(disk.path), disk.format)]
    subprocess.run([sys.executable, "-c", code, str(machine), *arguments], cwd=PROJECT, check=False)
    assert guest.is_running(machine)
    goes_on(pair[0])
    with pytest.raises(guest.GuestError, match="already running"):
        guest.start(machine, pair)
    guest.stop(machine)
    assert guest.inspect(pair).consistent


def test_guest_ends_when_its_vm_s_directory_is_gone(machine: Path, pair: list[GuestDisk]) -> None:
    running = guest.start(machine, pair)
    for entry in machine.iterdir():
        entry.unlink()
    machine.rmdir()
    until(lambda: os.waitpid(running.pid, os.WNOHANG)[0] == running.pid, "the guest ends")
    assert not guest.inspect(pair).clean


def test_many_disks(machine: Path, tmp_path: Path) -> None:
    disks.create(tmp_path / "image", 8, "qcow2")
    many = [GuestDisk(tmp_path / f"disk.{number}", "qcow2") for number in range(64)]
    for disk in many:
        disks.deploy(tmp_path / "image", disk.path, "qcow2")
    guest.start(machine, many)
    guest.stop(machine)
    evidence = guest.inspect(many)
    assert evidence.consistent
    assert {disk.disk_count for disk in evidence.disks} == {64}


def test_small_disks_are_left_alone_and_a_vm_needs_no_disk(machine: Path, tmp_path: Path) -> None:
    disks.create(tmp_path / "small", 3, "raw")
    guest.start(machine, [GuestDisk(tmp_path / "small", "raw")])
    guest.pause(machine)
    guest.resume(machine)
    guest.stop(machine)
    assert not any((tmp_path / "small").read_bytes())
    guest.start(machine, [])
    guest.stop(machine)


def test_dead_and_stale_guests(machine: Path, pair: list[GuestDisk]) -> None:
    with pytest.raises(guest.GuestError, match="no guest runs"):
        guest.stop(machine)
    running = guest.start(machine, pair)
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: not guest.is_running(machine), "the death is seen")
    with pytest.raises(guest.GuestError, match="no guest runs"):
        guest.pause(machine)
    (machine / "guest.pid").write_text(f"{os.getpid()} 1\n")  # the pid went to somebody else
    assert not guest.is_running(machine)
    guest.kill(machine)
    assert os.getpid()


def test_unusable_disk_is_one_error_and_no_process(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 8 * 2**20)
    with pytest.raises(guest.GuestError, match="is not a qcow2 image"):
        guest.start(machine, [GuestDisk(tmp_path / "text", "qcow2")])
    with pytest.raises(guest.GuestError, match="No such file"):
        guest.start(machine, [GuestDisk(tmp_path / "nothing", "raw")])
    assert not guest.is_running(machine)
