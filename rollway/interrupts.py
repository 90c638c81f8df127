"""Ctrl-C, SIGTERM and SIGHUP: the first stops in good order, the second ends the process, whatever hangs.

The invariant: signals are taken by a thread of their own, so neither a blocked main thread nor an event loop
that does not turn keeps the second one from ending the process.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from rollway import interrupt_guard

INTERRUPTED = 130
"""The exit code of an interrupted process."""

STUCK_SECONDS = 20.0
"""How long an event loop may take to begin stopping. One that does not turn never will."""

SAME_SECONDS = 0.2
"""Signals so soon after the first are the same: `timeout` and process managers send it to the process and to
its group."""

CLEAR_SECONDS = 0.5
"""How long what is done at the second signal may take."""


class _Listener(NamedTuple):
    """Who is told of signals instead of the main thread."""

    loop: asyncio.AbstractEventLoop
    first: Callable[[], None]
    second: Callable[[], None]


@contextmanager
def interruptible(*, guard: bool = False) -> Iterator[None]:
    """While the block runs, the first signal raises KeyboardInterrupt on the main thread, or calls what
    `interrupts_call` says; the second ends the process with exit code 130. With ``guard``, another process
    kills this one at the second signal if a thread holds the interpreter's lock (see `interrupt_guard`).

    Only on the main thread, where signals arrive; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _Signals().taken(guard=guard):
        yield


@contextmanager
def interrupts_call(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first signal has the event loop call ``first``; the next calls ``second``, on
    another thread, and ends the process without ado.

    To be used on the event loop's thread while the loop runs. Only on the main thread, as `interruptible`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _current() or _Signals()
    listener = _Listener(asyncio.get_running_loop(), first, second)
    with signals.taken():
        signals.listeners.append(listener)
        try:
            yield
        finally:
            signals.listeners.remove(listener)


def _current() -> _Signals | None:
    """Whoever takes the process's signals now, if it is one of us."""
    owner = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    return owner if isinstance(owner, _Signals) else None


class _Signals:
    """The signals of this process, counted from the first block that takes them to the last that lets go."""

    def __init__(self) -> None:
        self.listeners: list[_Listener] = []  # all are told
        self._users = 0  # blocks, which may overlap in any way: runs side by side on one event loop
        self._let_go: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, Any] = {}  # who took them before us
        self._writing = -1  # where the system writes the numbers of signals
        self._guarded = False
        self._lock = threading.RLock()  # the handler may interrupt itself
        self._handled = 0  # by the main thread, to which several may look like one
        self._read = 0  # by the thread
        self._noted = 0  # of which one of the two has made something
        self._first_at: float | None = None
        self._begun = False  # what the first signal asked for
        self._raised = False
        self._ending = False

    @contextmanager
    def taken(self, *, guard: bool = False) -> Iterator[None]:
        """Take them in the block. Whatever took them before the first block does so again after the last."""
        self._users += 1
        if self._users == 1:
            self._let_go = self._take(guard=guard)
        else:
            self._install()  # others may have set handlers of theirs meanwhile
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self._let_go()

    def _take(self, *, guard: bool) -> Callable[[], None]:
        """Take them; what lets go of them."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup has asked for it
            numbers.append(signal.SIGHUP)
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._guarded = False
        if guard:
            reading = self._start_guard(reading)
        self._before = {number: signal.getsignal(number) for number in numbers}
        fd_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._install()
        self._leave_copies_alone(self._before)
        threading.Thread(target=self._listen, args=(reading,), name="rollway-signals", daemon=True).start()

        def let_go() -> None:
            signal.set_wakeup_fd(fd_before)
            for number, handler in self._before.items():
                if handler is not None:
                    signal.signal(number, handler)
            with self._lock:
                self._guarded = False
            os.close(self._writing)  # the thread ends, and the guard

        return let_go

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def _start_guard(self, reading: int) -> int:
        """Have the guard read the signals first. Where there is none to be had, we do without."""
        answers, answering = os.pipe()
        words = [sys.executable, "-I", "-S", interrupt_guard.__file__, str(reading), str(answering)]
        try:
            subprocess.Popen(
                [*words, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(reading, answering),
                start_new_session=True,
            )
        except OSError:
            os.close(answers)
            os.close(answering)
            return reading
        os.close(reading)
        os.close(answering)
        self._guarded = True
        return answers

    def _leave_copies_alone(self, before: dict[signal.Signals, Any]) -> None:
        """A copy of this process (`os.fork`, `multiprocessing`) would tell us of its own signals."""
        owner = weakref.ref(self)

        def in_copy() -> None:
            if (own := owner()) is not None and _current() is own:
                signal.set_wakeup_fd(-1)
                for number, handler in before.items():
                    signal.signal(number, signal.SIG_DFL if handler is None else handler)

        os.register_at_fork(after_in_child=in_copy)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """On the main thread, between two steps of its code."""
        self._handled += 1
        self._note(self._handled)
        if not self.listeners and not self._raised:
            self._raised = self._begun = True
            raise KeyboardInterrupt

    def _listen(self, reading: int) -> None:
        """On the thread: read the numbers of the signals as they come."""
        taking = frozenset(map(int, self._before))
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        while True:
            found = poll.poll(200 if self._first_at is not None else None)
            if found:
                data = os.read(reading, 64)
                if not data:
                    os.close(reading)
                    return
                self._read += sum(byte in taking for byte in data)
                self._note(self._read)
                self._acknowledge()
            self._end_if_stuck()

    def _acknowledge(self) -> None:
        with self._lock:
            if self._guarded:
                try:
                    os.write(self._writing, bytes([interrupt_guard.ACKNOWLEDGED]))
                except OSError:  # the guard is gone
                    self._guarded = False

    def _note(self, seen: int) -> None:
        """Act on the signals that one of the two threads has seen."""
        with self._lock:
            if seen <= self._noted:
                return
            self._noted = seen
            if self._first_at is None:
                self._first_at = time.monotonic()
                for listener in self.listeners:
                    self._tell(listener)
                return
            same = not self._begun and time.monotonic() - self._first_at < SAME_SECONDS
            if same or self._ending:
                return
            self._ending = True
        self._end()

    def _tell(self, listener: _Listener) -> None:
        def begin() -> None:
            self._begun = True
            listener.first()

        try:
            listener.loop.call_soon_threadsafe(begin)
        except RuntimeError:  # the loop has closed meanwhile
            self._begun = True

    def _end_if_stuck(self) -> None:
        listeners = self.listeners
        if self._first_at is None or self._begun or not listeners:
            return
        if time.monotonic() - self._first_at > STUCK_SECONDS:
            _say(
                f"rollway: the event loop has not turned for {STUCK_SECONDS:.0f} s, so the process ends here"
            )
            self._end()

    def _end(self) -> None:
        """End the process, once whoever listens has put the terminal in order."""
        for listener in self.listeners:
            clearing = threading.Thread(target=listener.second, daemon=True)
            clearing.start()
            clearing.join(CLEAR_SECONDS)
        _end_now()


def end_at_next() -> None:
    """From now on the first signal ends the process: what it was asked for is done. On the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: _end_now())


def _end_now() -> None:
    """End this process and all that it has started, such as Ray's: some would outlive us for minutes."""
    interrupt_guard.kill_below(os.getpid())
    os._exit(INTERRUPTED)


def _say(line: str) -> None:
    """To the terminal, without a lock that the main thread may hold."""
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        pass


@contextmanager
def ending_with(end: Callable[[], None]) -> Iterator[None]:
    """After the block call ``end``, which ends what a library starts in the block, and kill what is left of
    it: some of Ray's processes do not notice when they have just begun."""
    before = frozenset(interrupt_guard.descendants(os.getpid()))
    try:
        yield
    finally:
        started = frozenset(interrupt_guard.descendants(os.getpid())) - before
        end()
        interrupt_guard.send(signal.SIGKILL, *started)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put back the handlers that a library sets in the block, as Ray does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def end_within(seconds: float, code: int) -> None:
    """End this process ``seconds`` from now with ``code``, unless it has ended by itself: threads that hang,
    and what libraries do at the end, do not keep it."""

    def end() -> None:
        time.sleep(seconds)
        for stream in (sys.stdout, sys.stderr):
            flushing = threading.Thread(target=_flush, args=(stream,), daemon=True)
            flushing.start()
            flushing.join(CLEAR_SECONDS)
        os._exit(code)

    threading.Thread(target=end, name="rollway-end", daemon=True).start()


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        pass
