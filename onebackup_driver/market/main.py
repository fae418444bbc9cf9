# SPDX-License-Identifier: Apache-2.0
"""The door of the marketplace driver. What oned reads (opennebula.md 2.2): the answer on stdout and exit code 0, or
nothing on stdout, another exit code, and one line on stderr with the reason, without a prefix of a log level."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from onebackup_driver import configuration, errors, files, paths, plain, signals
from onebackup_driver.market import payload
from onebackup_driver.market.site import Site

_ACTIONS = {"import": "importing", "delete": "deleting", "monitor": "monitoring"}


def run(action: str) -> None:
    """Carry out the action that this process was started for, and exit."""
    plain.make_forgiving(sys.stdout, sys.stderr)
    sys.exit(_guarded(action))


class _Kept(logging.Handler):
    """What is worth a warning when the action worked out; of a failure oned shall read the reason only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(plain.line(record.getMessage()))


def _guarded(action: str) -> int:
    warnings = _Kept()
    logging.getLogger().addHandler(warnings)
    logging.captureWarnings(True)
    try:
        signals.install()
        with _nobody_else_prints():
            answer = importlib.import_module(f"onebackup_driver.market.{_ACTIONS[action]}").answer(_site, _request())
        sys.stderr.writelines(f"WARN: {text}\n" for text in dict.fromkeys(warnings.texts))
        sys.stdout.write(answer)
        sys.stdout.flush()
        return errors.EXIT_DONE
    except errors.Error as error:
        return _failed(str(error), error.exit_code)
    except errors.Terminated as error:
        return _failed(f"{error}: nothing was stored", 128 + error.signal_number)
    except OSError as error:
        return _failed(str(error), errors.EXIT_FAILED)
    except Exception as error:
        return _failed(f"a bug in onebackup: {error!r}; {_kept(action)}", errors.EXIT_BUG)


@contextmanager
def _nobody_else_prints() -> Iterator[None]:
    """Standard output is the answer: what a library or a child writes there meanwhile goes nowhere."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()  # what Python still holds goes nowhere, too
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _request() -> payload.Request:
    return payload.read(sys.argv[1:])


def _site() -> Site:
    where = paths.find()
    rules = configuration.load(where.configuration)
    if rules.state_directory:
        where = paths.with_state(where, rules.state_directory)
    return Site(rules, where, os.path.abspath(sys.argv[0]))


def _failed(reason: str, code: int) -> int:
    # 7.0 and later leave out lines that begin like those of a log (ERROR: and the like).
    print(plain.line(f"onebackup: {reason}"), file=sys.stderr)
    return code


def _kept(action: str) -> str:
    import traceback

    try:
        where = paths.find().log
        with files.append(where) as stream:
            stream.write(f"market driver {action}:\n{traceback.format_exc()}".encode("utf-8", "backslashreplace"))
        return f"the traceback is in {where}"
    except (OSError, errors.Error):
        return "the traceback could not be written"
