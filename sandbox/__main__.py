# SPDX-License-Identifier: Apache-2.0
"""python -m sandbox --version 7.4 --port 0 --state DIR [--speed F] [--remotes DIR]"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from sandbox.core.settings import RELEASES, Settings


def parse(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="OpenNebula front-end emulator (loopback)")
    parser.add_argument("--version", choices=sorted(RELEASES), default="7.4", help="personality (default 7.4)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="database, datastores, logs")
    parser.add_argument("--speed", type=float, default=1.0, help="divides all emulated durations")
    parser.add_argument("--remotes", type=Path, default=None, metavar="DIR", help="drivers and hooks (STATE/remotes)")
    given = parser.parse_args(arguments)
    state = given.state.absolute()
    remotes = (given.remotes or state / "remotes").absolute()
    return Settings(given.version, state, remotes, given.port, given.speed)


def main() -> int:
    from sandbox import server as assembly

    server = assembly.build(parse())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    print(f"ready {server.front.endpoint}", flush=True)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    done.wait()
    server.front.stopping.set()
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
