"""Pydantic's JSON schema of a model, made small: a small policy reads every character of it.

No titles, no definitions apart from where they are used, ``type`` first. That no unknown properties are
allowed goes without saying: a call that has some is told so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of the model's fields, by alias. Only what refers to itself stays under ``$defs``."""
    schema = model.model_json_schema(schema_generator=_Generator)
    definitions = schema.pop("$defs", {})
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    result: dict[str, Any] = _tidy(schema, definitions, recursive)
    if recursive:
        result["$defs"] = {
            name: _tidy(definitions[name], definitions, recursive) for name in sorted(recursive)
        }
    return result


class _Generator(GenerateJsonSchema):
    """Leaves out a default that JSON cannot say, without a warning: the function fills it in."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own type)


_LEFT_OUT = ("title", "type", "discriminator")  # a discriminator points at definitions that are gone
_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "propertyNames", "contains")
_HOLDERS = frozenset((*_MAPS, *_LISTS, *_SINGLE))


def _tidy(schema: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    while (target := _target(schema)) in definitions and target not in recursive:
        schema = {**definitions[target], **{key: value for key, value in schema.items() if key != "$ref"}}
    result: dict[str, Any] = {"type": schema["type"]} if "type" in schema else {}
    for key, value in schema.items():
        if key in _LEFT_OUT or (key == "additionalProperties" and value is False):
            continue
        if key not in _HOLDERS and not _can_be_said(value):
            continue
        if key in _MAPS:
            result[key] = {name: _tidy(part, definitions, recursive) for name, part in value.items()}
        elif key in _LISTS:
            result[key] = [_tidy(part, definitions, recursive) for part in value]
        else:
            result[key] = _tidy(value, definitions, recursive) if key in _SINGLE else value
    return result


def _can_be_said(value: Any) -> bool:
    """Not so a default of NaN, or a bound at infinity: a request with one is no JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _target(schema: Mapping[str, Any]) -> str:
    """The definition that a schema refers to, or ``""``."""
    reference = schema.get("$ref")
    return reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""


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
            if target in definitions and target not in seen:
                seen.add(target)
                waiting.append(definitions[target])
    return False
