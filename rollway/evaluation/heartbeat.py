"""Listening to one worker: does its process answer, and does its event loop?

The invariant: only time in which the driver itself was running counts against a worker, so that a machine
that was suspended costs none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from rollway.evaluation.backends import WorkerDied, WorkerHandle
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.seat import EndKind, SeatEnd

STEPS = 60
"""Looks at an answer that does not come, before it is given up."""

_log = logging.getLogger(__name__)


async def end_of(
    worker: WorkerHandle, timings: DriverTimings, heard: Callable[[WorkerReport], None]
) -> SeatEnd | None:
    """Listen to a worker until it does not answer any more, and say so. What its reports say goes to
    ``heard``. ``None``: nobody needs to listen to it.
    """
    while True:
        await asyncio.sleep(timings.heartbeat)
        asking = asyncio.ensure_future(worker.heartbeat())
        try:
            if not await _answers(asking, timings.silent):
                why = f"its process has not answered for {timings.silent:g} s"
                _log.error("worker %s: %s", worker.name, why)
                return SeatEnd(EndKind.HUNG, why)
            report = asking.result()
        except WorkerDied as error:
            return SeatEnd(EndKind.DIED, str(error))
        finally:
            asking.cancel()
        if report is None:
            return None
        heard(report)
        if report.lag >= timings.silent:
            return _hung(worker, report)


async def _answers(asking: asyncio.Future[WorkerReport | None], seconds: float) -> bool:
    for _ in range(STEPS):
        await asyncio.wait([asking], timeout=seconds / STEPS)
        if asking.done():
            return True
    return False


def _hung(worker: WorkerHandle, report: WorkerReport) -> SeatEnd:
    """Its loop stands still: say who holds it up, as far as can be told."""
    blocker = report.blocker
    by = f", held up by {blocker.told()}" if blocker is not None else ""
    why = f"its event loop has not answered for {report.lag:.0f} s{by}"
    oldest = "; ".join(one.told() for one in report.oldest) or "none"
    _log.error(
        "worker %s: %s; oldest rollouts in flight: %s; its stacks:\n%s",
        worker.name,
        why,
        oldest,
        report.stacks,
    )
    return SeatEnd(EndKind.HUNG, why, None if blocker is None else (blocker.task_id, blocker.sample_index))
