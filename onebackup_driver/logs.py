# SPDX-License-Identifier: Apache-2.0
"""Log lines as the stock commands write them: `%Y-%m-%d %H:%M:%S LEVEL : text` (OpenNebula 6.4 src/cli/onevm)."""

from __future__ import annotations

import logging
import sys
from typing import Optional

from onebackup_driver import plain

_NAME = "onebackup"


class _StockFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(record.levelname, record.levelname)
        text = plain.line(record.getMessage())
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {level:<5} : {text}"


class _LogFile(logging.FileHandler):
    """A log that cannot be written (disk full) is said once on stderr and keeps no run from going on."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._said:
            self._said = True
            print(f"WARN  : cannot write the log {self.baseFilename}: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        try:
            super().close()
        except OSError:
            pass  # was said by then


class _Output(logging.StreamHandler):  # type: ignore[type-arg]
    """Log lines on stdout or stderr; a reader that has gone away (`| head`) is no reason to break a run off."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _is_not_the_end(record: logging.LogRecord) -> bool:
    """What ends a run (FATAL) is the command's own last line on stderr: it is not said there twice."""
    return record.levelno < logging.CRITICAL


def set_up(verbose: bool, log_file: Optional[str] = None) -> logging.Logger:
    """A logger: all lines on stdout with `verbose`, else into `log_file`, else only warnings, on stderr.

    `verbose` wins over `log_file`, as in the stock command. Raises OSError when the file cannot be opened.
    """
    logger = logging.getLogger(_NAME)
    for old in list(logger.handlers):
        logger.removeHandler(old)
    if verbose:
        handler: logging.Handler = _Output(sys.stdout)
    elif log_file:
        handler = _LogFile(log_file, encoding="utf-8")
    else:
        handler = _Output(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.addFilter(_is_not_the_end)
    handler.setFormatter(_StockFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
