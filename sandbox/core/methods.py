# SPDX-License-Identifier: Apache-2.0
"""The registry of XML-RPC methods: argument checks and the way of a call from the wire to its function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from sandbox.core import auth
from sandbox.core.errors import CallError, Fault
from sandbox.core.front import Front

Function = Callable[..., Any]
CHECKS: dict[str, tuple[type, str]] = {
    "i": (int, "integer"), "s": (str, "string"), "b": (bool, "boolean"), "a": (list, "array"),
}


@dataclass(frozen=True)
class Method:
    """`signature`: one letter per argument after the session (i s b a; after `|` optional ones)."""

    name: str
    signature: str
    function: Function
    versions: tuple[str, ...]
    refusal: Optional[Callable[[], CallError]] = None


METHODS: dict[str, Method] = {}
Result = tuple[bool, Any, int, int]


def method(name: str, signature: str, versions: Sequence[str] = ("6.4", "7.4")) -> Callable[[Function], Function]:
    """Registers `function(front, caller, *arguments)` under an XML-RPC name."""

    def register(function: Function) -> Function:
        METHODS[name] = Method(name, signature, function, tuple(versions))
        return function

    return register


def known(version: str, name: str) -> bool:
    return name in METHODS and version in METHODS[name].versions


def call(front: Front, name: str, parameters: Sequence[Any], request: int) -> tuple[Result, list[Any]]:
    """Runs one call. Returns (ok, value or message, code, object id) and the arguments. Raises Fault or Dropped."""
    if not known(front.settings.version, name):
        raise Fault(-506, f"Method '{name}' not defined")
    definition = METHODS[name]
    session, arguments = _check(definition.signature, parameters)
    user = session.split(":", 1)[0]
    result: Result = (False, "", 0, -1)
    try:
        caller = auth.authenticate(front, session, name, request)
        front.faults.apply(name, "before")
        with front.transaction():
            value = definition.function(front, caller, *arguments)
        result = (True, value, 0, -1)
    except CallError as error:
        result = (False, f"[{name}] {error.message}", error.code, error.object_id)
    finally:
        front.faults.record(name, user, result[0], result[2])
    return result, arguments


def _check(signature: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    required, _, optional = signature.partition("|")
    letters = "s" + required + optional
    if len(parameters) < len(required) + 1:
        raise Fault(-501, "Not enough parameters")
    arguments = list(parameters[: len(letters)])
    for letter, argument in zip(letters, arguments):
        kind, word = CHECKS[letter]
        if not isinstance(argument, kind) or (kind is int and isinstance(argument, bool)):
            raise Fault(-501, f"Parameter that is supposed to be {word} is not")
    return str(arguments[0]), arguments[1:]
