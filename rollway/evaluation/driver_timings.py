"""How long the driver waits for what: one record, so that tests wait less."""

from __future__ import annotations

import msgspec


class DriverTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    start: float = 300.0  # if no worker at all is running after this time, the run is given up
    others: float = 20.0  # a worker on which all fails waits so long, once one runs, for the others to start
    stop: float = 15.0  # an interrupted run waits so long for its cancelled rollouts
    restarts: tuple[float, ...] = (1.0, 5.0)  # before a worker that did not start is started again
    pauses: tuple[float, ...] = (
        1.0,
        5.0,
    )  # before a failed rollout is tried again: the second try, the third
    ramp: float = 5.0  # a new worker gets twice as much to do after each such time, until it has done some
    drain: float = 60.0  # a bad worker may end what it has in flight
    heartbeat: float = 5.0  # between two reports of a worker
    silent: float = 60.0  # a worker that has not answered for so long is replaced

    def pause(self, failures: int) -> float:
        """Before a rollout that has failed ``failures`` times is tried again."""
        return _nth(self.pauses, failures)

    def restart(self, failures: int) -> float:
        """Before a worker whose start has failed ``failures`` times in a row is started again."""
        return _nth(self.restarts, failures)


def _nth(seconds: tuple[float, ...], number: int) -> float:
    """The one for ``number``, from 1; the last one stands for all that follow."""
    return seconds[min(number, len(seconds)) - 1] if seconds else 0.0
