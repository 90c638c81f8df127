"""Outcomes of rollouts that are going to be tried again, in case they are not.

The invariant: they take room on the disk and not in memory, however many wait, and none is left when the
process ends, however it ends.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from rollway.evaluation.outcomes import Outcome


class HeldOutcomes:
    """A file without a name in ``folder``, which is made with the first outcome."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def hold(self, outcome: Outcome) -> Callable[[], Outcome]:
        """Put an outcome away; what is returned gets it back.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by `close`)
        file, packed = self._file, pickle.dumps(outcome)
        began = file.seek(0, os.SEEK_END)
        file.write(packed)
        file.flush()

        size = len(packed)

        def get_back() -> Outcome:
            file.seek(began)
            found: Outcome = pickle.loads(file.read(size))
            return found

        return get_back

    def close(self) -> None:
        """Forget all of them."""
        if self._file is not None:
            self._file.close()
            self._file = None
