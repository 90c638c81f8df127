"""A call of a process tool on its way: packed here, run and answered there.

What comes back is data and never a pickle: the process that answers may have run anything.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import threading
import time
from collections.abc import Callable

import msgspec

from rollway.tools.definition import ToolFailed
from rollway.tools.faults import message_of, place_of
from rollway.tools.machine_faults import system_error
from rollway.tools.pool_records import CallResult, RaisedInProcess
from rollway.tools.results import NotJson, ToolAnswer, printable, read_output

MAX_REPLY = 64 << 20
"""Bytes of one answer."""


class ProcessReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one call in the worker's process."""

    content: str = ""
    ok: bool = True
    stop: bool = False
    raised: str | None = None  # "ToolFailed", "NotJson", or any other exception's type
    place: str = ""
    errno: int | None = None  # of the OSError that was raised, or that led to what was
    duration: float = 0.0  # seconds that it ran, unpacked
    clean: bool = True  # it left neither threads nor processes behind


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ProcessReply)


def answer(call: bytes, begin: Callable[[], None]) -> bytes:
    """Run a packed call, in the worker's process. Nothing that the tool raises gets out.

    ``begin`` is called between unpacking, which imports what a process does not have yet, and the tool: how
    long the one takes hangs on the machine, and on whether there was a call before.
    """
    started = time.monotonic()
    threads = threading.active_count()
    try:
        function, args, kwargs = pickle.loads(call)
        begin()
        started = time.monotonic()
        value = function(*args, **kwargs)
        output = read_output(asyncio.run(value) if inspect.iscoroutine(value) else value)
        reply = ProcessReply(printable(output.content), output.ok, output.stop)
    except BaseException as error:
        kind = _kind(error)
        message = printable(message_of(error))
        described = message if kind in ("ToolFailed", "NotJson") else f"{kind}: {message}".rstrip(": ")
        reply = ProcessReply(described, raised=kind, place=place_of(error), errno=system_error(error))
    clean = threading.active_count() <= threads and not _has_children()
    duration = time.monotonic() - started
    encoded = _ENCODER.encode(msgspec.structs.replace(reply, duration=duration, clean=clean))
    if len(encoded) > MAX_REPLY:
        words = f"it returned {len(encoded)} bytes; the limit for a process tool is {MAX_REPLY}"
        return _ENCODER.encode(ProcessReply(words, raised="NotJson", duration=duration, clean=clean))
    return encoded


def _kind(error: BaseException) -> str:
    for known in (ToolFailed, NotJson):
        if isinstance(error, known):
            return known.__name__
    return type(error).__name__


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def decode_reply(data: bytes) -> ProcessReply:
    """Read what `answer` wrote.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    return _DECODER.decode(data)


def call_result(reply: ProcessReply, timeout: float | None, queued: float) -> CallResult:
    """The reply as the pool tells it. A call that ended after its deadline has timed out."""
    if timeout is not None and reply.duration > timeout:
        return CallResult(timed_out=True, duration=reply.duration, queued=queued)
    if reply.raised is None:
        value = ToolAnswer(reply.content, reply.ok, reply.stop)
        return CallResult(value, duration=reply.duration, queued=queued)
    error: Exception = RaisedInProcess(reply.content, reply.place, kind=reply.raised, errno=reply.errno)
    if reply.raised == "ToolFailed":
        error = ToolFailed(reply.content)
    elif reply.raised == "NotJson":
        error = NotJson(reply.content)
    return CallResult(error=error, duration=reply.duration, queued=queued)
