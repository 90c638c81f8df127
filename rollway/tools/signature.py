"""A typed Python function, read: the JSON schema of its parameters, and the binder for its calls."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from rollway.tools.binding import SignatureBinder
from rollway.tools.context_parameters import ContextParameter, context_parameter
from rollway.tools.docstrings import Docstring
from rollway.tools.schema import schema_of


def describe_function(
    function: Callable[..., Any], name: str, docstring: Docstring, *, skip_first: bool = False
) -> tuple[dict[str, Any], SignatureBinder, tuple[ContextParameter, ...]]:
    """The JSON schema of a function's parameters, the binder for its calls, and what a rollout fills in.

    Args:
        function: any callable with a signature.
        name: the tool's name, for messages.
        docstring: where descriptions come from that the annotations do not give.
        skip_first: leave out the first parameter (``self`` of a method that is not bound yet).

    Raises:
        TypeError: a parameter cannot be said in JSON, or cannot be filled in; the message names it.
    """
    parameters = _parameters(function, name)[skip_first:]
    hints = _hints(function, name, parameters)
    given = _given_by_partials(function)
    context: list[ContextParameter] = []
    fields: dict[str, Any] = {}  # the model's, in the order of the parameters
    names: dict[str, str] = {}
    reserved: set[str] = set()
    base = _base("forbid")
    for index, parameter in enumerate(parameters):
        filled_in = context_parameter(parameter.name, hints[parameter.name])
        if filled_in is not None:
            _check_context(name, parameter)
            if parameter.name not in given:
                context.append(filled_in)
            reserved.add(parameter.name)
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            base = _base_for_more(name, parameter.name, hints[parameter.name])
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(
                f"tool {name!r} takes *{parameter.name}, which a model cannot name; use a list parameter"
            )
        else:
            names[parameter.name] = f"p{index}"
            documented = docstring.arguments.get(parameter.name)
            fields[f"p{index}"] = _field(parameter, hints[parameter.name], documented)
    model, schema = _build(name, names, fields, base)
    positional = frozenset(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY)
    filled = frozenset(p.name for p in parameters if isinstance(p.default, FieldInfo))
    binder = SignatureBinder(model, names, positional, filled, frozenset(reserved))
    return schema, binder, tuple(context)


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # some builtins tell nobody
        raise TypeError(
            f"tool {name!r}: the parameters of {function!r} cannot be read; wrap it in a function"
        ) from None


def _check_context(tool: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        return
    raise TypeError(
        f"tool {tool!r}: parameter {parameter.name!r} is filled in by the rollout as a keyword, so it "
        "cannot be positional-only, * or **"
    )


def _given_by_partials(function: Any) -> set[str]:
    """Names that ``functools.partial`` has given a value already."""
    given: set[str] = set()
    while isinstance(function, functools.partial):
        given |= function.keywords.keys()
        function = function.func
    return given


def _build(
    tool: str, names: dict[str, str], fields: dict[str, Any], base: type[BaseModel]
) -> tuple[type[BaseModel], dict[str, Any]]:
    try:
        model = create_model("Arguments", __base__=base, **fields)
        return model, schema_of(model)
    except PydanticUserError as error:
        if len(fields) > 1:
            for name, field in names.items():  # alone, so that the fault falls on its parameter
                _build(tool, {name: field}, {field: fields[field]}, base)
        raise _cannot_be_said(tool, ", ".join(names), error) from None


def _cannot_be_said(tool: str, parameter: str, error: PydanticUserError) -> TypeError:
    reason = str(error).splitlines()[0]
    if error.code == "class-not-fully-defined":  # pydantic talks of our model, which nobody knows
        reason = "it refers to itself or to an unknown type; for any JSON use pydantic.JsonValue"
    return TypeError(f"tool {tool!r}: parameter {parameter!r} has a type without a JSON schema ({reason})")


def _base_for_more(tool: str, parameter: str, hint: Any) -> type[BaseModel]:
    """The model without its fields, of a function that takes further arguments: ``**parameter: hint``."""
    if getattr(typing.get_origin(hint), "_name", "") == "Unpack":  # of typing, or of typing_extensions
        raise TypeError(f"tool {tool!r} takes **{parameter} of a TypedDict; use its keys as parameters")
    try:
        base = _base("allow", hint)
        schema_of(base)
    except PydanticUserError as error:
        raise _cannot_be_said(tool, parameter, error) from None
    return base


def _base(extra: Literal["allow", "forbid"], hint: Any = Any) -> type[BaseModel]:
    body: dict[str, Any] = {
        "model_config": ConfigDict(extra=extra, protected_namespaces=()),
        "__module__": __name__,
    }
    if hint is not Any:
        body["__annotations__"] = {"__pydantic_extra__": dict[str, hint]}
    return types.new_class("Base", (BaseModel,), exec_body=lambda namespace: namespace.update(body))


def _hints(function: Callable[..., Any], name: str, parameters: list[inspect.Parameter]) -> dict[str, Any]:
    """Types of the parameters only: what a function returns may be known to type checkers alone."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    if not hasattr(target, "__globals__") and not inspect.ismethod(target) and not inspect.isbuiltin(target):
        target = type(target).__call__
    scope = getattr(getattr(target, "__func__", target), "__globals__", {})
    hints: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty:
            hints[parameter.name] = Any
            continue
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            resolved = typing.get_type_hints(holder, globalns=scope, include_extras=True)
        except NameError as error:
            raise TypeError(
                f"tool {name!r}: the type {annotation!r} of parameter {parameter.name!r} is not defined in "
                f"the function's module ({error}); define or import it at the top of that module"
            ) from None
        hints[parameter.name] = _eager(resolved["it"])
    return hints


def _eager(hint: Any) -> Any:
    """``Iterable`` as a list: pydantic checks its items only when the tool reads them, and takes a text for
    its letters.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[_eager(hint.__origin__), *hint.__metadata__]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_eager(member) for member in inner)]  # noqa: UP007 (members in a tuple)
    if Iterable in (hint, origin):
        return list[inner[0] if inner else Any]  # type: ignore[misc]
    return hint


def _words(hint: Any) -> str | None:
    """The text in ``Annotated[int, "text"]``, also where that is a member of a union: ``... | None``."""
    if typing.get_origin(hint) is Annotated:
        return next((item for item in hint.__metadata__ if isinstance(item, str)), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(filter(None, map(_words, typing.get_args(hint))), None)
    return None


def _field(parameter: inspect.Parameter, hint: Any, documented: str | None) -> tuple[Any, Any]:
    """The (type, default) pair that pydantic makes a field from."""
    metadata = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    description = _words(hint)
    if description is None and not any(isinstance(item, FieldInfo) and item.description for item in metadata):
        description = documented
    if isinstance(parameter.default, FieldInfo):
        described = parameter.default.description or description
        return Annotated[hint, parameter.default], Field(alias=parameter.name, description=described)
    if parameter.default is None and hint is not Any:
        hint = hint | None if not isinstance(hint, str) else hint
    options: dict[str, Any] = {"alias": parameter.name}
    if description:
        options["description"] = description
    if parameter.default is not inspect.Parameter.empty:
        options["default"] = parameter.default
    return hint, Field(**options)
