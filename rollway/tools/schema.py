"""A typed Python function as JSON schema, and a model's arguments as a call of that function.

Pydantic sees the parameters under neutral names and the real ones as aliases, so no parameter's name can
collide with anything of pydantic's or of ours.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from rollway.errors import nearest
from rollway.tools.arguments import InvalidArguments, shown
from rollway.tools.docstrings import Docstring

_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY


class SignatureBinder(msgspec.Struct, frozen=True):
    """Turns a dict of arguments into what the function is called with."""

    model: type[BaseModel]
    fields: dict[str, str]  # parameter -> the model's field
    positional: frozenset[str]  # parameters that can only be given by position
    filled: frozenset[str]  # parameters whose default is pydantic's (``x: int = Field(3)``)

    def bind(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Validate and coerce.

        Raises:
            InvalidArguments: naming every parameter that is wrong, missing or unknown.
        """
        try:
            values = self.model.model_validate(arguments)
        except ValidationError as error:
            raise InvalidArguments(self._explain(error, arguments)) from None
        given = values.model_fields_set
        args: list[Any] = []
        kwargs: dict[str, Any] = dict(values.model_extra or {})
        for name, field in self.fields.items():
            if name in self.positional:
                args.append(getattr(values, field))
            elif field in given or name in self.filled:
                kwargs[name] = getattr(values, field)
        return tuple(args), kwargs

    def _explain(self, error: ValidationError, arguments: dict[str, Any]) -> str:
        wrong: dict[str, list[str]] = {}
        missing: list[str] = []
        unknown: list[str] = []
        for fault in error.errors(include_url=False, include_context=False):
            path, value = _locate(fault["loc"], arguments)
            if len(fault["loc"]) == 1 and fault["type"] == "missing":
                missing.append(repr(path))
            elif len(fault["loc"]) == 1 and fault["type"] == "extra_forbidden":
                unknown.append(f"{path!r}{nearest(path, self.fields)}")
            else:
                given = "" if fault["type"] == "missing" else f", got {shown(value)}"
                wrong.setdefault(f"{path!r}{given}", []).append(_lower(fault["msg"]))
        return explain(wrong, missing, unknown, self.fields)


def explain(
    wrong: Mapping[str, Iterable[str]], missing: list[str], unknown: list[str], names: Iterable[str]
) -> str:
    """One message for everything that is wrong with a call's arguments."""
    parts = [f"{place}: {' or '.join(dict.fromkeys(reasons))}" for place, reasons in wrong.items()]
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    if unknown:
        known = ", ".join(names)
        parts.append(f"unknown {', '.join(unknown)}; " + (f"it takes {known}" if known else "it takes none"))
    return "; ".join(parts)


def _locate(location: tuple[int | str, ...], arguments: Any) -> tuple[str, Any]:
    """The path as a model would write it (``points[0].x``), and what stands there.

    Pydantic's locations also name members of unions, which are no part of the arguments: these are left out.
    """
    path, value = "", arguments
    for depth, step in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(value, dict) and isinstance(step, str) and (step in value or last):
            path = f"{path}.{step}" if path else step
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
    return path, value


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def describe_function(
    function: Callable[..., Any], name: str, docstring: Docstring, *, skip_first: bool = False
) -> tuple[dict[str, Any], SignatureBinder]:
    """The JSON schema of a function's parameters, and the binder for its calls.

    Args:
        function: any callable with a signature.
        name: the tool's name, for messages.
        docstring: where descriptions come from that the annotations do not give.
        skip_first: leave out the first parameter (``self`` of a method that is not bound yet).

    Raises:
        TypeError: a parameter cannot be said in JSON; the message names it.
    """
    parameters = list(inspect.signature(function).parameters.values())[skip_first:]
    hints = _hints(function, name, parameters)
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    extra: typing.Literal["allow", "forbid"] = "forbid"
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(
                f"tool {name!r} takes *{parameter.name}, which has no name for a model to use; make it a list"
            )
        field = f"p{index}"
        names[parameter.name] = field
        fields[field] = _field(parameter, hints[parameter.name], docstring.arguments.get(parameter.name))
        _check(name, parameter.name, fields[field])
    config = ConfigDict(extra=extra, protected_namespaces=())
    model = create_model("Arguments", __config__=config, **fields)
    return tidy(model.model_json_schema(schema_generator=_Generator)), SignatureBinder(
        model,
        names,
        frozenset(p.name for p in parameters if p.kind is _POSITIONAL),
        frozenset(p.name for p in parameters if isinstance(p.default, FieldInfo)),
    )


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
                f"tool {name!r}: the type {annotation!r} of parameter {parameter.name!r} is not known in the "
                f"function's module ({error}); define or import it at the top of that module"
            ) from None
        hints[parameter.name] = resolved["it"]
    return hints


def _field(parameter: inspect.Parameter, hint: Any, documented: str | None) -> tuple[Any, Any]:
    """The (type, default) pair that pydantic makes a field from."""
    metadata = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    words = next((item for item in metadata if isinstance(item, str)), None)
    description = words
    if description is None and not any(isinstance(item, FieldInfo) and item.description for item in metadata):
        description = documented
    if isinstance(parameter.default, FieldInfo):
        described = parameter.default.description or description
        return Annotated[hint, parameter.default], Field(alias=parameter.name, description=described)
    if parameter.default is None:
        hint = hint | None if not isinstance(hint, str) else hint
    options: dict[str, Any] = {"alias": parameter.name}
    if description:
        options["description"] = description
    if parameter.default is not inspect.Parameter.empty:
        options["default"] = parameter.default
    return hint, Field(**options)


def _check(tool: str, parameter: str, field: tuple[Any, Any]) -> None:
    """Build the field alone, so that a fault can be blamed on its parameter."""
    try:
        create_model("Check", __config__=ConfigDict(protected_namespaces=()), p=field).model_json_schema()
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise TypeError(
            f"tool {tool!r}: parameter {parameter!r} has a type that JSON cannot say ({reason})"
        ) from None


class _Generator(GenerateJsonSchema):
    """Leaves out a default that JSON cannot say, without a warning: the function fills it in."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own type)


_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "propertyNames", "contains")


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Pydantic's schema without titles, with definitions put in where they are used.

    Only what refers to itself stays under ``$defs``. ``type`` comes first.
    """
    definitions = schema.get("$defs", {})
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    body = {key: value for key, value in schema.items() if key != "$defs"}
    if body.get("additionalProperties") is False:
        del body["additionalProperties"]
    result: dict[str, Any] = _tidy(body, definitions, recursive)
    if recursive:
        result["$defs"] = {
            name: _tidy(definitions[name], definitions, recursive) for name in sorted(recursive)
        }
    return result


def _tidy(schema: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    target = _target(schema)
    if target is not None and target not in recursive:
        schema = {**definitions[target], **{key: value for key, value in schema.items() if key != "$ref"}}
    result: dict[str, Any] = {"type": schema["type"]} if "type" in schema else {}
    for key, value in schema.items():
        if key in _MAPS:
            result[key] = {name: _tidy(part, definitions, recursive) for name, part in value.items()}
        elif key in _LISTS:
            result[key] = [_tidy(part, definitions, recursive) for part in value]
        elif key in _SINGLE:
            result[key] = _tidy(value, definitions, recursive)
        elif key not in ("title", "type"):
            result[key] = value
    return result


def _target(schema: Mapping[str, Any]) -> str | None:
    reference = schema.get("$ref")
    return reference.removeprefix("#/$defs/") if isinstance(reference, str) else None


def _reaches(start: str, wanted: str, definitions: Mapping[str, Any]) -> bool:
    seen: set[str] = set()
    waiting = [definitions[start]]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
            target = _target(part)
            if target == wanted:
                return True
            if target is not None and target not in seen:
                seen.add(target)
                waiting.append(definitions[target])
    return False
