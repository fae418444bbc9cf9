# SPDX-License-Identifier: Apache-2.0
"""The door of all hooks: one line on standard output or error, an exit code, and never a traceback.

`onehook show` keeps line and code. What is not needed is not imported: most events are over before the front-end is
asked anything.
"""

from __future__ import annotations

import importlib
import sys

from onebackup_driver import errors, plain
from onebackup_driver.hooks import payload


def run(name: str) -> None:
    """Handle the event that this process was started for with the module `name`, and exit."""
    plain.make_forgiving(sys.stdout, sys.stderr)
    sys.exit(_guarded(name))


def _guarded(name: str) -> int:
    try:
        hint = payload.read(sys.argv[1:], sys.stdin.buffer)
        line = importlib.import_module(f"onebackup_driver.hooks.{name}").handle(hint)
        print(plain.line(f"onebackup {name}: {line}"))
        return errors.EXIT_DONE
    except errors.Error as error:
        return _failed(name, str(error), error.exit_code)
    except OSError as error:
        return _failed(name, errors.in_words(error), errors.EXIT_FAILED)
    except Exception as error:
        return _failed(name, f"a bug: {error!r}; {_kept(name)}", errors.EXIT_BUG)


def _failed(name: str, reason: str, code: int) -> int:
    print(plain.line(f"ERROR: onebackup {name}: {reason}"), file=sys.stderr)
    return code


def _kept(name: str) -> str:
    """Write the traceback of the present exception into the log; where it is, in words."""
    import traceback

    from onebackup_driver import files, paths

    try:
        log = paths.find().log
        with files.append(log) as stream:
            stream.write(f"hook {name}:\n{traceback.format_exc()}".encode("utf-8", "backslashreplace"))
        return f"the traceback is in {log}"
    except OSError:
        return "the traceback could not be written"
