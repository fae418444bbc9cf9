# SPDX-License-Identifier: Apache-2.0
"""A front-end that knows only one.vmpool.infoextended, with many VMs made from a recorded one, for bench/pool.py."""

from __future__ import annotations

import sys
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

ANSWER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<methodResponse>\n<params>\n<param><value><array><data>\n'
    "<value><boolean>1</boolean></value>\n<value><string>{}</string></value>\n<value><i4>0</i4></value>\n"
    "</data></array></value></param>\n</params>\n</methodResponse>\n"
)


def recorded_vm(recording: Path) -> str:
    """The first VM of a recorded answer of one.vmpool.infoextended."""
    (answer,), _ = xmlrpc.client.loads(recording.read_text(encoding="utf-8"))
    text = str(answer[1])  # type: ignore[index]
    return text[text.index("<VM>") : text.index("</VM>") + len("</VM>")]


def machine(model: str, vm_id: int, now: int) -> str:
    """The model with another id and name and up to two of its disks less, last backed up up to two days ago."""
    section = model.index("<BACKUP>") + len("<BACKUP>")
    last = f"<LAST_BACKUP_TIME><![CDATA[{now - vm_id * 7919 % 172800}]]></LAST_BACKUP_TIME>"
    text = model[:section] + last + model[section:]
    old_id = model[model.index("<ID>") : model.index("</ID>")]
    text = text.replace(old_id, f"<ID>{vm_id}", 1).replace("<NAME>", f"<NAME>vm{vm_id}-", 1)
    for _ in range(vm_id % 3):  # the recorded VM has four disks: 6 to 8 KB in all
        begin = text.index("<DISK>")
        text = text[:begin] + text[text.index("</DISK>", begin) + len("</DISK>") :]
    return text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    machines: list[str] = []

    def do_POST(self) -> None:
        words, _ = xmlrpc.client.loads(self.rfile.read(int(self.headers["Content-Length"])))
        offset, end = (int(str(word)) for word in words[2:4])
        page = self.machines[offset : offset - end]
        body = ANSWER.format(f"&lt;VM_POOL&gt;{''.join(page)}&lt;/VM_POOL&gt;").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def main() -> None:
    recording, count, now = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    model = recorded_vm(recording)
    plain = [machine(model, vm_id, now) for vm_id in range(1, count + 1)]
    Handler.machines = [escape(text) for text in plain]
    sizes = sorted(map(len, plain))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/RPC2 {sizes[0]} {sum(sizes) // count} {sizes[-1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
