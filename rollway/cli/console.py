"""Where a run is told of: a terminal, a file, or a pipe whose reader may leave before the run has ended."""

from __future__ import annotations

import os
import sys

from rich.console import Console


class RunConsole(Console):
    """Falls silent when its reader has gone, as in ``rollway eval ... | head``; the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is left in its buffer would be a fault at the exit
        os.close(nowhere)
