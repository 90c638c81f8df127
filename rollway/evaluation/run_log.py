"""A run's ``log.txt``: what the package logs while the run goes on, and nothing of it on the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollway.errors import UserError
from rollway.evaluation.listening import listening


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Append what the ``rollway`` loggers say, from INFO on, to ``file``.

    Raises:
        UserError: it cannot be opened.
    """
    logger = logging.getLogger("rollway")
    try:
        handler = _RunLog(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"cannot write to {file}: {error.strerror or error}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        with listening(logger, handler, logging.INFO):
            yield
    finally:
        with suppress(OSError):  # it has been told of
            handler.close()


class _RunLog(logging.FileHandler):
    """Tells once, in one line, that it cannot write, and not with a traceback at each record."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not self.told:
            self.told = True
            print(f"rollway: cannot write to {self.baseFilename}: {sys.exception()}", file=sys.stderr)
