"""Regular expressions of a JSON schema, applied to what a model wrote.

The invariant: none takes long, whatever the text. Most are read by an engine that backtracks never; those
with lookarounds or back references, which it lacks, by one that gives up after `MOST_SECONDS`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from rollway.tools.arguments import InvalidArguments, shown

MOST_SECONDS = 0.05
"""Of one match on the event loop."""


def with_safe_patterns(kind: type[Validator]) -> type[Validator]:
    """A validator whose keywords with regular expressions use those of `matches`."""
    keywords: dict[str, Any] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    extended: type[Validator] = extend(kind, keywords)  # type: ignore[no-untyped-call]
    return extended


def matches(pattern: str, text: str) -> bool:
    """Does the pattern match anywhere in the text?

    Raises:
        InvalidArguments: that takes too long to find out.
        ValueError: the pattern cannot be read.
    """
    return _matcher(pattern)(text)


@functools.lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], bool]:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except SchemaError:
        return _backtracking(pattern)


def _backtracking(pattern: str) -> Callable[[str], bool]:
    import regex

    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(
            f"the tool's schema has a pattern that cannot be read: {pattern!r}: {error}"
        ) from None

    def search(text: str) -> bool:
        try:
            return compiled.search(text, timeout=MOST_SECONDS) is not None
        except TimeoutError:
            raise InvalidArguments(
                f"{shown(text)} cannot be checked against the pattern {shown(pattern)}: it takes too long"
            ) from None

    return search


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [
        name for name in instance if name not in named and not any(matches(one, name) for one in patterns)
    ]
    if validator.is_type(additional, "object"):
        for extra in extras:
            yield from validator.descend(instance[extra], additional, path=extra)
    elif not additional and extras:
        told = ", ".join(repr(extra) for extra in sorted(extras))
        yield ValidationError(f"additional properties are not allowed: {told}")
