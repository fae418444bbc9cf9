# SPDX-License-Identifier: Apache-2.0
"""The durable queue, with real processes that are killed in the middle."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from onebackup_driver import clock, queue

# Takes one request at a time, notes durably that it began and ended, sleeps in between; `said` is printed when taken.
WORKER = """
import sys, time, os
from pathlib import Path
from onebackup_driver import queue
directory, effects, pause_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
while True:
    taken = queue.take(directory, 1)
    if not taken:
        break
    request = taken[0]
    print(request.vm_id, flush=True)
    effect = effects / f"{request.request_id}-{os.getpid()}"
    if not any(effects.glob(f"{request.request_id}-*")):   # what the catalogue tells: it was carried out already
        time.sleep(pause_s)
        effect.touch()
    queue.finish(directory, request, "done")
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    path = tmp_path / "effects"
    path.mkdir()
    return path


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(
    workers: list[subprocess.Popen[str]], directory: Path, effects: Path, pause_s: float
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory), str(effects), str(pause_s)], stdout=subprocess.PIPE, text=True
    )
    workers.append(process)
    return process


def names(requests: list[queue.Request]) -> list[str]:
    return [request.file_name for request in requests]


def test_requests_come_back_in_their_order(directory: Path) -> None:
    for vm_id, reason in ((3, "now"), (1, "off"), (2, "now")):
        queue.add(directory, vm_id, reason, "a test")
    assert set(names(queue.waiting(directory))) == {"vm-3.now.json", "vm-1.off.json", "vm-2.now.json"}
    first = queue.take(directory, 1)
    rest = queue.take(directory)
    assert [len(first), len(rest)] == [1, 2]
    assert set(names(queue.claimed(directory))) == set(names(first + rest))
    assert queue.take(directory) == []
    for request in first + rest:
        queue.finish(directory, request, "done: well")
    assert (queue.waiting(directory), queue.claimed(directory)) == ([], [])
    assert [outcome for _, _, outcome in queue.finished(directory)] == ["done: well"] * 3


def test_the_same_request_does_not_wait_twice_but_is_renewed(directory: Path) -> None:
    first = queue.add(directory, 7, "now", "first")
    second = queue.add(directory, 7, "now", "second")
    queue.add(directory, 7, "off", "another reason")
    assert first.request_id == second.request_id
    assert len(queue.waiting(directory)) == 2
    assert {request.requested_by for request in queue.waiting(directory)} == {"second", "another reason"}


def test_asking_again_makes_nothing_begin_sooner(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add(directory, 7, "now", "first")
    (taken,) = queue.take(directory)
    queue.put_back(directory, taken, 300)
    (waiting,) = queue.waiting(directory)
    assert queue.add(directory, 7, "now", "again").not_before == waiting.not_before > clock.now() + 200
    assert queue.take(directory) == []
    earlier = clock.now() - 3600
    monkeypatch.setattr(clock, "now", lambda: earlier)  # it was an hour ahead, and has been set right
    assert queue.add(directory, 7, "now", "again").not_before == 0


def test_one_that_is_worked_on_can_be_asked_for_again(directory: Path) -> None:
    queue.add(directory, 7, "now", "first")
    (taken,) = queue.take(directory)
    again = queue.add(directory, 7, "now", "again")
    assert again.request_id != taken.request_id
    assert queue.take(directory) == [], "the same VM and reason is worked on"
    queue.finish(directory, taken, "done")
    assert [request.request_id for request in queue.take(directory)] == [again.request_id]


def test_put_back_waits_its_delay(directory: Path) -> None:
    queue.add(directory, 7, "now", "a test")
    (taken,) = queue.take(directory)
    queue.put_back(directory, taken, 3600)
    assert queue.take(directory) == []
    (waiting,) = queue.waiting(directory)
    assert 3590 < waiting.not_before - time.time() <= 3600
    assert (waiting.request_id, waiting.attempts) == (taken.request_id, 0)


def test_put_back_at_once(directory: Path) -> None:
    queue.add(directory, 7, "now", "a test")
    queue.put_back(directory, queue.take(directory)[0])
    assert names(queue.take(directory)) == ["vm-7.now.json"]


def test_a_full_queue_refuses_but_renews(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LIMIT", 2)
    queue.add(directory, 1, "now", "a test")
    queue.add(directory, 2, "now", "a test")
    with pytest.raises(queue.Full, match="2 requests wait already"):
        queue.add(directory, 3, "now", "a test")
    queue.add(directory, 2, "now", "renewed")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 2}', '{"format": 1}', "null", "\xff\xfe", '{"format": 1, "vm_id": "x"}'],
)
def test_an_unreadable_request_is_set_aside_with_a_line(
    directory: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue.add(directory, 1, "now", "a test")
    bad = directory / "waiting" / "vm-2.now.json"
    bad.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert names(queue.take(directory)) == ["vm-1.now.json"]
    assert "vm-2.now.json cannot be read" in caplog.text
    assert not bad.exists()
    assert (directory / "unreadable" / "vm-2.now.json").exists()


def test_a_request_under_another_name_is_set_aside(directory: Path) -> None:
    queue.add(directory, 1, "now", "a test")
    os.rename(directory / "waiting" / "vm-1.now.json", directory / "waiting" / "vm-9.now.json")
    assert queue.take(directory) == []
    assert [path.name for path in (directory / "unreadable").iterdir()] == ["vm-9.now.json"]


def test_a_name_cannot_leave_the_queue(directory: Path) -> None:
    queue.add(directory, 1, "now", "a test")
    path = directory / "waiting" / "vm-1.now.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "reason": "../../x"}))
    assert queue.take(directory) == []


def test_what_was_half_written_is_cleared_away(directory: Path) -> None:
    queue.add(directory, 1, "now", "a test")
    half = directory / "waiting" / ".vm-2.now.json.abcd"
    half.write_text("{")
    assert names(queue.take(directory)) == ["vm-1.now.json"]
    assert not half.exists()


def test_a_claim_of_a_dead_process_waits_again_and_a_live_one_does_not(
    directory: Path, effects: Path, workers: list[subprocess.Popen[str]]
) -> None:
    queue.add(directory, 5, "now", "a test")
    process = start(workers, directory, effects, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "5\n"
    assert queue.take(directory) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    (taken,) = queue.take(directory)
    assert (taken.vm_id, taken.attempts) == (5, 1)


def test_a_request_that_kills_its_workers_is_given_up(
    directory: Path, effects: Path, workers: list[subprocess.Popen[str]]
) -> None:
    queue.add(directory, 5, "now", "a test")
    for _ in range(queue.ATTEMPTS):
        process = start(workers, directory, effects, 60)
        assert process.stdout is not None
        assert process.stdout.readline() == "5\n"
        process.kill()
        process.wait()
    assert queue.take(directory) == []
    assert [outcome for _, _, outcome in queue.finished(directory)] == ["given up: 3 processes died with it"]
    assert queue.waiting(directory) == queue.claimed(directory) == []


def test_one_that_had_ended_is_not_run_again_when_its_claim_was_left(directory: Path) -> None:
    """The process died between writing the outcome and removing the claim."""
    queue.add(directory, 5, "now", "a test")
    (taken,) = queue.take(directory)
    claim = (directory / "claimed" / taken.file_name).read_bytes()
    queue.finish(directory, taken, "done")
    (directory / "claimed" / taken.file_name).write_bytes(claim)
    assert queue.take(directory) == []
    assert queue.claimed(directory) == []


def test_a_dead_claim_gives_way_to_a_younger_request(
    directory: Path, effects: Path, workers: list[subprocess.Popen[str]]
) -> None:
    queue.add(directory, 5, "now", "first")
    process = start(workers, directory, effects, 60)
    assert process.stdout is not None
    process.stdout.readline()
    younger = queue.add(directory, 5, "now", "again")
    process.kill()
    process.wait()
    assert [request.request_id for request in queue.take(directory)] == [younger.request_id]
    assert queue.take(directory) == []


def test_only_the_last_outcomes_are_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_FINISHED_KEPT", 3)
    for vm_id in range(6):
        queue.add(directory, vm_id, "now", "a test")
        queue.finish(directory, queue.take(directory)[0], f"done {vm_id}")
    assert len(queue.finished(directory)) == 3


def test_many_workers_killed_in_the_middle_run_each_request_once(
    directory: Path, effects: Path, workers: list[subprocess.Popen[str]]
) -> None:
    expected = {queue.add(directory, vm_id, "now", "a test").request_id for vm_id in range(40)}
    for round_number in range(6):
        group = [start(workers, directory, effects, 0.02) for _ in range(3)]
        for process in group:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.03 * round_number)
        for process in group:
            process.kill()
            process.wait()
    while queue.waiting(directory) or queue.claimed(directory):
        assert start(workers, directory, effects, 0).wait(30) == 0
    done = Counter(path.name.split("-")[0] for path in effects.iterdir())
    outcomes = {request.request_id: outcome for request, _, outcome in queue.finished(directory)}
    assert set(outcomes) == expected
    given_up = {request_id for request_id, outcome in outcomes.items() if outcome != "done"}
    assert set(done) == expected - given_up
    assert set(done.values()) == {1}


def test_adding_from_many_processes_loses_nothing(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from onebackup_driver import queue\n"
        "for vm_id in range(20): queue.add(Path(sys.argv[1]), vm_id, sys.argv[2], 'a test')"
    )
    adders = [
        subprocess.Popen([sys.executable, "-c", code, str(directory), reason]) for reason in ("now", "now", "off")
    ]
    assert [process.wait(60) for process in adders] == [0, 0, 0]
    assert len(queue.waiting(directory)) == 40
