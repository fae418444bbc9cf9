# SPDX-License-Identifier: Apache-2.0
"""The database: every object as JSON in sqlite, written in one transaction per call, so that kill -9 is survived."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from sandbox.core.record import Record

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (kind TEXT, id INTEGER, body TEXT, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS counter (kind TEXT PRIMARY KEY, next INTEGER);
CREATE TABLE IF NOT EXISTS hook_log (hook INTEGER, execution INTEGER, code INTEGER, time INTEGER, body TEXT,
                                     PRIMARY KEY (hook, execution));
"""


class Store:
    """Not thread safe by itself: used under the front-end's lock."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.executescript(SCHEMA)

    def load(self) -> list[Record]:
        return [Record.load(body) for (body,) in self.connection.execute("SELECT body FROM object ORDER BY id")]

    def counters(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT kind, next FROM counter").fetchall())

    def write(self, changed: Iterable[Record], removed: Iterable[tuple[str, int]], counters: dict[str, int]) -> None:
        cursor = self.connection.cursor()
        cursor.execute("BEGIN")
        cursor.executemany("DELETE FROM object WHERE kind=? AND id=?", list(removed))
        rows = [(record.kind, record.id, record.dump()) for record in changed]
        cursor.executemany("INSERT OR REPLACE INTO object VALUES (?,?,?)", rows)
        cursor.executemany("INSERT OR REPLACE INTO counter VALUES (?,?)", list(counters.items()))
        cursor.execute("COMMIT")

    def add_hook_log(self, hook: int, code: int, timestamp: int, body: str) -> int:
        """Returns the execution id, which counts per hook from 0."""
        row = self.connection.execute("SELECT MAX(execution) FROM hook_log WHERE hook=?", (hook,)).fetchone()
        execution = 0 if row[0] is None else row[0] + 1
        body = body.replace("@EXECUTION@", str(execution))
        self.connection.execute("INSERT INTO hook_log VALUES (?,?,?,?,?)", (hook, execution, code, timestamp, body))
        kept = execution - 19
        self.connection.execute("DELETE FROM hook_log WHERE hook=? AND execution<?", (hook, kept))
        return int(execution)

    def hook_log(self, where: str = "1", values: tuple[object, ...] = ()) -> list[tuple[int, int, int, int, str]]:
        """Rows (hook, execution, code, time, body) that match a fixed SQL condition."""
        query = f"SELECT hook, execution, code, time, body FROM hook_log WHERE {where} ORDER BY hook, execution"
        return self.connection.execute(query, values).fetchall()

    def remove_hook_log(self, hook: int) -> None:
        self.connection.execute("DELETE FROM hook_log WHERE hook=?", (hook,))

    def close(self) -> None:
        self.connection.close()
