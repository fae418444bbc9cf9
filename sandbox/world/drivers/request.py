# SPDX-License-Identifier: Apache-2.0
"""The request and the answer of a marketplace driver."""
from __future__ import annotations

import base64
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping

from sandbox.world import template_text


class Refused(Exception):
    """The driver cannot do it: the text goes to stderr as it is, exit code 1."""


class Request:
    """The decoded XML of a request."""

    def __init__(self, encoded: str) -> None:
        self._root = ElementTree.fromstring(base64.b64decode(encoded))

    def text(self, path: str) -> str:
        """Return the text at a path below the root, empty when it is not there."""
        return self._root.findtext(path) or ""

    def market(self, name: str, default: str = "") -> str:
        """Return an attribute of the marketplace's template."""
        return self.text(f"MARKETPLACE/TEMPLATE/{name}") or default

    def dispose(self) -> None:
        """Run DISPOSE_CMD when the export asked for it."""
        command = self.text("DISPOSE_CMD")
        if self.text("DISPOSE") == "YES" and command:
            import subprocess

            done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode != 0:
                print(f"Dispose of {self.text('IMPORT_SOURCE')} failed. Error: {done.stderr}", file=sys.stderr)

    def imported(self, source: str) -> dict[str, object]:
        """Return an import's answer: MD5, SIZE and FORMAT are only repeated from the request, as stock."""
        return {"SOURCE": source, **{name: self.text(name) for name in ("MD5", "SIZE", "FORMAT")}}


Action = Callable[[Request], Mapping[str, object]]


def serve(actions: Mapping[str, Action]) -> None:
    """Run the action named on the command line, print its attributes; exit 1 with one reason when refused."""
    action, encoded = sys.argv[1:3]
    try:
        answer = actions[action](Request(encoded))
    except Refused as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    for name, value in answer.items():
        print(f"{name}={template_text.quote(value)}")
