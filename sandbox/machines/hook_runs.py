# SPDX-License-Identifier: Apache-2.0
"""Running hooks as oned's hook executor does, and logging what came of it."""

from __future__ import annotations

import base64
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.sax.saxutils import escape

from sandbox.core.front import Front
from sandbox.core.methods import Result
from sandbox.core.record import Record, now
from sandbox.core.xml_text import pretty, tag
from sandbox.machines import drivers
from sandbox.world import hook_executor

CONCURRENCY = 10
EXECUTOR = ThreadPoolExecutor(CONCURRENCY, "hook")


def start(front: Front, hook: Record, template: str = "", api: str = "") -> None:
    """Queues one execution; `template` is the object's XML, `api` the CALL_INFO."""
    words = hook_executor.expand_arguments(hook.template.get("ARGUMENTS"), _encoded(template), _encoded(api))
    EXECUTOR.submit(_run, front, hook, words)


def again(front: Front, hook: Record, record_xml: str) -> None:
    """one.hook.retry: the same arguments once more."""
    match = re.search(r"<ARGUMENTS>(.*?)</ARGUMENTS>", record_xml, re.S)
    EXECUTOR.submit(_run, front, hook, match.group(1).split() if match else [])


def _encoded(text: str) -> str:
    return base64.b64encode(pretty(text).encode()).decode() if text else ""


def _run(front: Front, hook: Record, words: list[str]) -> None:
    template = hook.template
    timeout = template.number("TIMEOUT", 0)
    done = hook_executor.run(
        template.get("COMMAND"), words, hook_executor.is_stdin(template.get("ARGUMENTS_STDIN")),
        front.settings.remotes / "hooks", drivers.environment(front), float(timeout) if timeout > 0 else None)
    result = (tag("COMMAND", escape(done.command)) + tag("STDOUT", base64.b64encode(done.stdout.encode()).decode())
              + tag("STDERR", base64.b64encode(done.stderr.encode()).decode()) + tag("CODE", done.return_code))
    moment = now()
    body = (tag("HOOK_ID", hook.id) + tag("EXECUTION_ID", "@EXECUTION@") + tag("TIMESTAMP", moment)
            + tag("ARGUMENTS", escape(" ".join(words))) + tag("EXECUTION_RESULT", result))
    with front.transaction():
        if front.find("hook", hook.id) is not None:
            front.store.add_hook_log(hook.id, done.return_code, moment, tag("HOOK_EXECUTION_RECORD", body))


def call_info(arguments: list[Any], result: Result, modern: bool, extra: str) -> str:
    """The CALL_INFO document; texts are not escaped, as oned does not escape them (6.x: its messages are CDATA)."""
    parts = [_parameter(1, "IN", "****")]
    parts += [_parameter(number, "IN", _shown(value)) for number, value in enumerate(arguments, 2)]
    ok, value, code, object_id = result
    message = value if modern else f"<![CDATA[{value}]]>"
    out: list[Any] = [ok, value, code] if ok else [ok, message, code, object_id]
    parts += [_parameter(number, "OUT", _shown(item, True)) for number, item in enumerate(out, 1)]
    inner = tag("RESULT", int(ok)) + tag("PARAMETERS", "".join(parts)) + tag("EXTRA", extra)
    return tag("CALL_INFO", inner)


def _parameter(position: int, kind: str, value: str) -> str:
    return tag("PARAMETER", tag("POSITION", position) + tag("TYPE", kind) + tag("VALUE", value))


def _shown(value: Any, out: bool = False) -> str:
    if isinstance(value, bool):
        return str(value).lower() if out else str(int(value))
    return str(value)
