# SPDX-License-Identifier: Apache-2.0
"""Log lines as the stock commands write them: `%Y-%m-%d %H:%M:%S LEVEL : text` (OpenNebula 6.4 src/cli/onevm)."""

from __future__ import annotations

import logging
import sys
from typing import Optional

_NAME = "onebackup"


class _StockFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(record.levelname, record.levelname)
        text = " ".join(record.getMessage().splitlines())
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {level:<5} : {text}"


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
        handler: logging.Handler = logging.StreamHandler(sys.stdout)
    elif log_file:
        handler = logging.FileHandler(log_file, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.addFilter(_is_not_the_end)
    handler.setFormatter(_StockFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
