"""What a tool is: a name, words and a JSON schema for the model, and a function for us.

A `Tool` is still the function it was made from: calling it calls the function. What a call from a model
goes through (parsing, validation, a deadline) happens in `rollway.tools.execution`.
"""

from __future__ import annotations

import copy
import inspect
import re
import types
from collections.abc import Callable
from typing import Any, Protocol, overload

import msgspec

from rollway.absent_keys import present_schema
from rollway.tools.arguments import parse_arguments
from rollway.tools.context_parameters import ContextParameter
from rollway.tools.docstrings import parse_docstring

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


class ToolFailed(Exception):
    """Raised by a tool to tell the model, in the tool's own words, that it could not do what was asked."""


class ToolOutput(msgspec.Struct, frozen=True):
    """What a tool returns when a plain value does not say enough."""

    content: Any  # text, or a value that JSON can say
    ok: bool = True  # False: recorded as an error that the tool reported
    stop: bool = False  # True: the rollout ends after this turn's tools, as `tool_stopped`


class Binder(Protocol):
    """Checks the arguments of a call."""

    def bind(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the function is called with, or `InvalidArguments`."""
        ...


class Tool(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A function that a model may call. Made by `tool` or by `Tool.from_schema`."""

    name: str  # what the model calls it
    description: str
    parameters: dict[str, Any]  # JSON schema of the arguments, an object; not to be changed
    function: Callable[..., Any]  # sync or async
    binder: Binder
    context: tuple[ContextParameter, ...] = ()  # parameters that the rollout fills in, after `bind`
    process: bool = False  # runs in a separate process, which can be killed
    unbound: bool = False  # a method as its class sees it; the instance's attribute is the tool to use

    @classmethod
    def from_schema(
        cls, name: str, description: str, parameters: dict[str, Any], function: Callable[..., Any]
    ) -> Tool:
        """A tool with a given schema. ``function`` is called with the arguments by name. Schema
        keywords that are ``None``, as in rows of an Arrow table, count as absent.

        Raises:
            ValueError: ``parameters`` is not a valid JSON schema of an object, or the name is not valid.
        """
        from rollway.tools.json_schema import SchemaBinder  # jsonschema is slow to import

        _check_name(name)
        parameters = present_schema(parameters)
        binder = SchemaBinder.of(name, parameters)
        return cls(
            name=name, description=description, parameters=parameters, function=function, binder=binder
        )

    def definition(self) -> dict[str, Any]:
        """The tool as the OpenAI API describes it; a copy."""
        return copy.deepcopy(self.shared_definition())

    def shared_definition(self) -> dict[str, Any]:
        """The same, for readers only: the schema is the tool's own."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def bind(self, arguments: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The function's arguments, from the text that a model wrote.

        Raises:
            InvalidArguments: with a message for the model.
        """
        return self.binder.bind(parse_arguments(arguments))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Tool:
        """If ``@tool`` decorates a method, each instance has the tool bound to itself."""
        if instance is None or not self.unbound:
            return self
        return msgspec.structs.replace(
            self, function=types.MethodType(self.function, instance), unbound=False
        )


@overload
def tool(
    function: Callable[..., Any], /, *, name: str = "", description: str = "", process: bool = False
) -> Tool: ...
@overload
def tool(
    *, name: str = "", description: str = "", process: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    process: bool = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Turn a typed function, sync or async, into a `Tool`: ``@tool`` or ``@tool(name=..., description=...)``.

    The description is the docstring's text, the schema comes from the type hints, and descriptions of
    arguments from ``Annotated[int, "text"]`` or from the docstring (Google or NumPy style). The name defaults
    to the function's. The rollout fills in a parameter of a type of `rollway.tools.context`.

    ``process=True`` is for code that may not return: each call runs in a separate process, which is killed
    at the deadline with everything that it started. The function and its arguments are copied there; changes
    to globals or ``self`` affect only the copy.

    Raises:
        TypeError: a parameter has no JSON schema, or cannot be filled in.
        ValueError: the name is not valid.
    """
    if function is None:
        return lambda decorated: _from_function(decorated, name, description, process)
    return _from_function(function, name, description, process)


def _from_function(function: Callable[..., Any], name: str, description: str, process: bool) -> Tool:
    from rollway.tools.signature import describe_function  # pydantic is slow to import

    if isinstance(function, Tool):
        raise TypeError(f"{function.name!r} is already a tool")
    if not callable(function):
        raise TypeError(
            f"@tool needs a function, got a {type(function).__name__}; for a class method, use the bound "
            "one: tool(Class.method)"
        )
    plain = function
    while not hasattr(plain, "__name__") and hasattr(plain, "func"):  # functools.partial
        plain = plain.func
    name = name or getattr(plain, "__name__", "")
    _check_name(name)
    if inspect.isasyncgenfunction(plain):
        raise TypeError(f"tool {name!r} is an async generator; return a list instead")
    unbound = _is_method(function)
    docstring = parse_docstring(getattr(plain, "__doc__", None))
    parameters, binder, context = describe_function(function, name, docstring, skip_first=unbound)
    if process and context:
        raise TypeError(
            f"tool {name!r} runs in a separate process, where the rollout cannot fill in parameter "
            f"{context[0].name!r}"
        )
    return Tool(
        name=name,
        description=description or docstring.description,
        parameters=parameters,
        function=function,
        binder=binder,
        context=context,
        process=process,
        unbound=unbound,
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a valid tool name (up to 128 letters, digits and _ . : / -); pass name=..."
        )


def _is_method(function: Callable[..., Any]) -> bool:
    """Is this a method in a class body? A plain function may well have a parameter named ``self``."""
    if not inspect.isfunction(function):
        return False
    enclosing = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return (
        bool(enclosing)
        and not enclosing.endswith("<locals>")
        and first is not None
        and first.name == "self"
        and first.annotation is inspect.Parameter.empty
    )
