# SPDX-License-Identifier: Apache-2.0
"""Each recorded session, call by call, against a sandbox of that version."""
from __future__ import annotations

import base64
import difflib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest
from lxml import etree

from sandbox import process, servers
from sandbox.machines import vm_states
from tests.sandbox import comparison, recordings
from tests.sandbox import replay as replay_of
from tests.sandbox.exceptions import EXCEPTIONS
from tests.sandbox.recordings import Exchange
from tests.sandbox.replay import Answer, Replay, make_sources

VERSIONS = ("6.4", "7.4")
SHELL = ("_", "OLDPWD", "SHLVL")
DUMP = ('d=$(mktemp -d "$HOME/NAME-XXXXXX"); env > $d/env; cat > $d/stdin; '
        'for a in "$0" "$@"; do echo "$a"; done > $d/argv.new; mv $d/argv.new $d/argv\n')
PROBE = {
    "market/probe/import": DUMP.replace("NAME", "market-import") +
                           'echo \'SOURCE="probe://app-1234" MD5="d41d8cd98f00b204e9800998ecf8427e" SIZE="512" '
                           'FORMAT="qcow2"\'',
    "market/probe/delete": DUMP.replace("NAME", "market-delete"),
    "market/probe/monitor": "echo 'USED_MB=10 FREE_MB=990 TOTAL_MB=1000'",
    "hooks/probe/dump": DUMP.replace("NAME", "hook"),
}


@pytest.fixture(scope="module", params=VERSIONS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    yield from _play(request, tmp_path_factory)


def _play(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    directory = tmp_path_factory.mktemp("fidelity")
    sources = Path(tempfile.mkdtemp(dir="/var/tmp"))
    public = Path(tempfile.mkdtemp(dir="/var/tmp"))
    public.chmod(0o755)
    try:
        make_sources(sources)
        _make_remotes(directory / "state" / "remotes")
        with servers.http_server(public) as http, process.start(
                directory / "state", request.param, speed=2) as front_end:
            # The disk image is the same from either file; the qcow2 one is copied in no time.
            texts = {'/var/tmp/base.raw"\nTYPE="DATABLOCK': f'{sources}/base.qcow2"\nTYPE="DATABLOCK',
                     "/var/tmp/base": f"{sources}/base", "http://127.0.0.1:8074/": http.url,
                     "http://127.0.0.1:8064/": http.url, "/var/www/market": str(public)}
            yield Played(request.param, Replay(front_end, texts))
    finally:
        shutil.rmtree(sources)
        shutil.rmtree(public)


def _make_remotes(remotes: Path) -> None:
    for name, body in PROBE.items():
        path = remotes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


class Played:
    """The session played once; `problems` are the differences no exception covers."""

    def __init__(self, version: str, replay: Replay) -> None:
        self.version = version
        self.replay = replay
        self.problems: list[str] = []
        self.used: set[tuple[str, str, str]] = set()
        self.calls = 0
        self.slowness = 0.0
        session = recordings.session(version)
        for exchange, following in zip(session, [*session[1:], session[-1]]):
            self._slow_down(0.8 if replay_of.is_at_once(following) else 0.0)
            self._compare(exchange, replay.play(exchange))
            self.calls += 1

    def _slow_down(self, seconds: float) -> None:
        """Makes steps last long enough for the next call to see them under way, as the recorder did."""
        if seconds != self.slowness:
            self.slowness = seconds
            for what in ("saveas", "download", "import", "schedule"):
                self.replay.front_end.control("slow", what=what, seconds=seconds)

    def _compare(self, exchange: Exchange, answer: Answer) -> None:
        found: list[str] = []
        if (exchange.ok, exchange.code) != (answer.ok, answer.code):
            found.append(f"! {exchange.ok} {exchange.code} {exchange.value!s:.300} / {answer.ok} {answer.code} "
                         f"{answer.value!s:.300}")
        elif not exchange.ok:
            found += self._refusals(exchange, answer)
        elif isinstance(exchange.value, str) and exchange.value.startswith("<"):
            found += self._answers(exchange, answer)
        elif isinstance(exchange.value, str) and exchange.value != answer.value:
            found.append(f"! {exchange.value} / {answer.value}")
        left = [line for line in found if not self._excused(exchange, line)]
        if left:
            self.problems.append(f"{exchange.number} {exchange.method} ({exchange.note})\n    " + "\n    ".join(left))

    def _refusals(self, exchange: Exchange, answer: Answer) -> list[str]:
        wanted, got = self.replay.message(exchange.value), re.sub(r"at line \d+", "at line #", answer.value)
        found = [] if wanted == got else [f"! {wanted} / {got}"]
        if exchange.object_id is not None and (exchange.object_id == -1) != (answer.object_id == -1):
            found.append(f"! object id {exchange.object_id} / {answer.object_id}")
        return found

    def _answers(self, exchange: Exchange, answer: Answer) -> list[str]:
        wanted, got = comparison.parse(exchange.value), comparison.parse(answer.value)
        if "pool" in exchange.method:
            self._keep_common(wanted, got)
        known = {kind: {str(number) for number in numbers} for kind, numbers in self.replay.ids.items()}
        mine = {kind: {str(number) for number in numbers.values()} for kind, numbers in self.replay.ids.items()}
        wanted, got = comparison.prepare(wanted, known), comparison.prepare(got, mine)
        theirs, ours = comparison.lines(wanted, self.replay.ids), comparison.lines(got)
        difference = difflib.unified_diff(theirs, ours, "recorded", "sandbox", lineterm="", n=0)
        return [line for line in difference if not line.startswith(("---", "+++", "@@"))]

    def _keep_common(self, wanted: etree._Element, got: etree._Element) -> None:
        """In pools only what both front-ends hold: what the session made and what a fresh one has."""
        kind = comparison.ROOTS.get(wanted[0].tag, wanted[0].tag) if len(wanted) else ""
        ids = self.replay.ids.get(kind, {})
        ours = {child.findtext("ID") for child in got}
        theirs = {str(ids.get(int(child.findtext("ID") or -1), child.findtext("ID"))) for child in wanted}
        for child in list(wanted):
            number = child.findtext("ID") or ""
            if number and (str(ids.get(int(number), number)) not in ours or _foreign(kind, int(number), ids)):
                wanted.remove(child)
        for child in list(got):
            if child.findtext("ID") and child.findtext("ID") not in theirs & {
                    str(ids.get(int(other.findtext("ID") or -1), other.findtext("ID"))) for other in wanted}:
                got.remove(child)

    def _excused(self, exchange: Exchange, line: str) -> bool:
        for key in EXCEPTIONS:
            version, where, pattern = key
            if version in ("*", self.version) and where in ("*", str(exchange.number), exchange.method) and re.search(
                    pattern, line):
                self.used.add(key)
                return True
        return False


def _foreign(kind: str, number: int, ids: dict[int, int]) -> bool:
    """Objects of the recorded front-end that neither the session nor a fresh installation made."""
    fresh = {"DATASTORE": 3, "HOST": 1, "market": 100, "user": 2}
    return number not in ids and number >= fresh.get(kind, 0)


def test_every_recorded_call_is_answered_alike(played: Played) -> None:
    assert not played.problems, f"{len(played.problems)} of {played.calls} calls differ\n" + "\n".join(played.problems)


def test_the_vm_passed_the_recorded_states(played: Played) -> None:
    log = (played.replay.front_end.state / "log" / "0.log").read_text()
    wanted = [state for _, sequence in recordings.states(played.version) for state in sequence if "/" in state]
    assert _without_repetition(_passed(log)) == _without_repetition(wanted)


def _passed(log: str) -> list[str]:
    """The states of a VM's log as "STATE/LCM_STATE"."""
    found = []
    for kind, name in re.findall(r"New (LCM )?state is (\w+)", log):
        number = vm_states.LCM[name] if kind else vm_states.STATES.index(name)
        found.append(f"3/{number}" if kind else f"{number}/0")
    return found


def _without_repetition(states: list[str]) -> list[str]:
    return [state for number, state in enumerate(states) if number == 0 or states[number - 1] != state]


def test_hooks_were_given_what_recorded_hooks_were_given(played: Played) -> None:
    ours = [_payload(directory, played) for directory in played.replay.front_end.state.glob("hook-*")]
    recorded = recordings.DIRECTORY / played.version / "payloads"
    theirs = [_payload(directory, played, played.replay.ids) for directory in sorted(recorded.glob("hook-*"))]
    missing = [payload for payload in theirs if payload not in ours]
    assert not missing, _nearest(missing[0], ours)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("action", ["import", "delete"])
def test_market_drivers_were_given_what_recorded_ones_were_given(played: Played, action: str) -> None:
    ours = [_payload(path, played) for path in played.replay.front_end.state.glob(f"market-{action}-*")]
    recorded = recordings.DIRECTORY / played.version / "payloads" / f"market-{action}-1"
    theirs = _payload(recorded, played, played.replay.ids)
    assert theirs in ours, _nearest(theirs, ours)


def _nearest(wanted: list[str], ours: list[list[str]]) -> str:
    best = max(ours, key=lambda payload: difflib.SequenceMatcher(None, wanted, payload).ratio())
    return "\n".join(difflib.unified_diff(wanted, best, "recorded", "sandbox", lineterm="", n=0))


def _payload(directory: Path, played: Played, ids: Optional[comparison.Ids] = None) -> list[str]:
    """One hook run: where its data came from, the other arguments, the variables, the document and its indentation."""
    words, text = (directory / "argv").read_text().split()[1:], (directory / "stdin").read_text()
    names = sorted(line.split("=")[0] for line in (directory / "env").read_text().splitlines())
    encoded = text or words[0]
    document = base64.b64decode(encoded, validate=True).decode()
    document = document.replace(str(played.replay.front_end.state), "/var/lib/one")
    xml = comparison.parse(document)
    known = {kind: {str(number) for number in (numbers if ids else numbers.values())}
             for kind, numbers in played.replay.ids.items()}
    lines = comparison.lines(comparison.prepare(xml, known), ids)
    shape = [re.sub(r"\S.*", "", line) for line in document.splitlines()[:40]]
    lines = [_translated(line, played.replay) if ids else _own(line) for line in lines]
    second = words[1] if words[1:] and not words[1].isdigit() else ""
    return [str(len(words)), second, str(bool(text)), str(text.endswith("\n")),
            ",".join(name for name in names if name not in SHELL), *shape, *lines]


def _translated(line: str, replay: Replay) -> str:
    """CALL_INFO holds arguments and answers as they were: the VM's id, template texts, messages."""
    match = re.match(r"(\s+VALUE=)(\d+)$", line)
    if match is not None:
        return match.group(1) + str(replay.ids["vm"].get(int(match.group(2)), match.group(2)))
    return replay.message(replay.text(line)) if line.lstrip().startswith("VALUE") else line


def _own(line: str) -> str:
    return re.sub(r"at line \d+", "at line #", line)


def test_no_exception_is_left_over(played: Played) -> None:
    mine = {key for key in EXCEPTIONS if key[0] in ("*", played.version)}
    assert mine == played.used
