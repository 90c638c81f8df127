"""The engine in a thread of its own, so that computing never holds up the event loop that serves HTTP.

The loop's side and the engine's side share two things: an inbox of requests and aborts, and one call per
step that hands a step's outputs back to the loop. The loop reads the engine's counters without a lock: they
are single numbers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Container, Sequence
from functools import partial

from rollway.embedded.engine import Engine
from rollway.embedded.sequences import GenerationRequest, Output


class EngineDied(Exception):
    """The engine's thread ended by an error of its own; nothing more can be generated."""


class Generation:
    """The outputs of one HTTP request's prompts, on the event loop."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self.requests = requests
        self.left = sum(request.params.n for request in requests)  # samples that are not finished
        self._queue: asyncio.Queue[Output | EngineDied] = asyncio.Queue()

    def put(self, item: Output | EngineDied) -> None:
        """Called on the loop."""
        self._queue.put_nowait(item)

    async def next(self) -> Output:
        """The next output.

        Raises:
            EngineDied: there will be none.
        """
        item = await self._queue.get()
        if isinstance(item, EngineDied):
            raise item
        if item.finish_reason is not None:
            self.left -= 1
        return item

    async def finished(self) -> list[Output]:
        """The outputs of all samples, in the order of the prompts and within them of the samples.

        For requests that are not streamed, whose samples have one output each.

        Raises:
            EngineDied: there will be none.
        """
        outputs = [await self.next() for _ in range(self.left)]
        order = {id(request): place for place, request in enumerate(self.requests)}
        return sorted(outputs, key=lambda output: (order[id(output.request)], output.index))


class EngineThread:
    """Owns an `Engine` and runs it while there is work.

    Args:
        engine: touched by nobody else from `start` on.
        loop: where outputs are delivered.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self._loop = loop
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open: dict[int, Generation] = {}  # by id(), those that still get outputs
        self._death: EngineDied | None = None
        self._thread = threading.Thread(target=self._run, name="rollway-engine", daemon=True)

    @property
    def death(self) -> EngineDied | None:
        """Why the engine no longer runs; None while it does."""
        return self._death

    @property
    def pending(self) -> int:
        """HTTP requests that are not finished."""
        return len(self._open)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step. Requests in flight get no more outputs."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, requests: Sequence[GenerationRequest]) -> Generation:
        """Queue the prompts of one HTTP request.

        Raises:
            EngineDied: the engine no longer runs.
        """
        if self._death is not None:
            raise self._death
        generation = Generation(requests)
        self._open[id(generation)] = generation
        for request in requests:
            request.receiver = generation
            self._inbox.put(partial(self.engine.add, request))
        return generation

    def close(self, generation: Generation) -> None:
        """The caller is done with it; whatever still runs of it is aborted."""
        del self._open[id(generation)]
        if generation.left:
            for request in generation.requests:
                self._inbox.put(partial(self.engine.abort, request))

    def abort(self, request_ids: Container[str]) -> None:
        """Abort requests by id; they end with finish reason ``abort`` and what they have sampled."""
        for generation in self._open.values():
            for request in generation.requests:
                if request.id in request_ids:
                    self._inbox.put(partial(self.engine.abort, request))

    def _run(self) -> None:
        from threadpoolctl import threadpool_limits

        try:
            with threadpool_limits(limits=1, user_api="blas"):  # the machine is shared with the clients
                while self._take_inbox():
                    outputs = self.engine.step()
                    if outputs:
                        self._loop.call_soon_threadsafe(_deliver, outputs)
        except BaseException as error:
            death = EngineDied(f"the engine failed: {type(error).__name__}: {error}")
            self._loop.call_soon_threadsafe(self._die, death)
            raise

    def _take_inbox(self) -> bool:
        """Do what the loop asked for; wait when there is nothing to compute. False: stop."""
        idle = not (self.engine.running or self.engine.waiting)
        while idle or not self._inbox.empty():
            action = self._inbox.get()
            if action is None:
                return False
            action()
            idle = False
        return True

    def _die(self, death: EngineDied) -> None:
        self._death = death
        for generation in self._open.values():
            generation.put(death)


def _deliver(outputs: list[Output]) -> None:
    for output in outputs:
        output.request.receiver.put(output)
