"""What can go wrong with a call, in a kind for the record and in words that help the model go on.

The model gets types and messages, never a traceback; the record also has the place of an exception.
"""

from __future__ import annotations

import traceback

import msgspec

from rollway.tools.arguments import InvalidArguments
from rollway.tools.definition import ToolFailed
from rollway.tools.pool_records import CallResult, PoolClosed, ProcessEnded, RaisedInProcess
from rollway.tools.registry import ToolRegistry
from rollway.tools.results import NotJson, ToolAnswer
from rollway.tools.sandboxes.protocol import SandboxError, SandboxFileError
from rollway.trajectory import ToolErrorKind

_NAMES_TOLD = 50  # tools listed for a model that calls an unknown one


class Fault(msgspec.Struct, frozen=True):
    """Why a call has no answer of the tool's own."""

    kind: ToolErrorKind
    told: str  # to the model
    place: str = ""  # where an exception was raised; not for the model
    why: str = ""  # for the record, if it differs from the model's message


def unknown_tool(name: str, registry: ToolRegistry) -> Fault:
    """The model called what is not there: which tools are, and which one it may have meant."""
    names = registry.names
    listed = ", ".join(names[:_NAMES_TOLD]) + (", ..." if len(names) > _NAMES_TOLD else "")
    there = f"the tools are: {listed}" if names else "there are no tools"
    if registry.is_hidden(name):
        told = registry.told_of_hidden(name) or f"Error: tool {name!r} is not allowed here; {there}"
        return Fault(ToolErrorKind.NOT_ALLOWED, told)
    return Fault(
        ToolErrorKind.UNKNOWN_TOOL, f"Error: there is no tool named {name!r}{registry.near(name)}; {there}"
    )


def bad_arguments(name: str, error: Exception) -> Fault:
    """The tool cannot be called with these arguments, or a validator of the user's own has failed."""
    if isinstance(error, InvalidArguments):
        return Fault(ToolErrorKind.INVALID_ARGUMENTS, f"Error: invalid arguments for tool {name!r}: {error}")
    told = f"Error: the arguments of tool {name!r} could not be checked: {_described(error)}"
    return Fault(ToolErrorKind.EXCEPTION, told, place_of(error))


def no_sandbox(name: str) -> Fault:
    """The tool asks for a sandbox that the rollout does not have."""
    return Fault(ToolErrorKind.SANDBOX, f"Error: tool {name!r} needs a sandbox, but this rollout has none")


def judge(name: str, came: CallResult, timeout: float | None) -> ToolAnswer | Fault:
    """What came of a call that was handed to the pool. Its value is a `ToolAnswer`."""
    if came.timed_out:
        return Fault(ToolErrorKind.TIMEOUT, f"Error: tool {name!r} timed out after {timeout:g} seconds")
    if came.error is not None:
        return _raised(name, came.error, ran=came.duration > 0)
    answer: ToolAnswer = came.value
    return answer


def _raised(name: str, error: BaseException, *, ran: bool) -> Fault:
    if isinstance(error, SandboxError):
        told = f"Error: the sandbox of tool {name!r} failed: {message_of(error) or type(error).__name__}"
        return Fault(ToolErrorKind.SANDBOX, told, place_of(error))
    if isinstance(error, ToolFailed | SandboxFileError):
        told = message_of(error) or f"Error: tool {name!r} failed without an error message"
        return Fault(ToolErrorKind.TOOL_REPORTED, told)
    if isinstance(error, PoolClosed):
        what = "did not finish" if ran else "was not run"
        return Fault(ToolErrorKind.CANCELLED, f"Error: tool {name!r} {what}: the tool pool was closed")
    if isinstance(error, ProcessEnded):
        return Fault(ToolErrorKind.EXCEPTION, f"Error: the process of tool {name!r} ended: {error}")
    if isinstance(error, RaisedInProcess):
        return Fault(ToolErrorKind.EXCEPTION, f"Error: tool {name!r} raised {error}", error.place)
    if isinstance(error, NotJson):
        return Fault(ToolErrorKind.EXCEPTION, f"Error: tool {name!r} ran, but {error}")
    return Fault(ToolErrorKind.EXCEPTION, f"Error: tool {name!r} raised {_described(error)}", place_of(error))


def _described(error: BaseException) -> str:
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def message_of(error: BaseException) -> str:
    """An exception's message, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception as second:  # an exception whose own `__str__` raises
        return f"(its message cannot be read: {type(second).__name__})"


def place_of(error: BaseException) -> str:
    """Where it was raised: file, line and function; ``""`` when nobody knows."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{line} in {code.co_name}"
    return place
