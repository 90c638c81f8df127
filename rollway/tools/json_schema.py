"""Calls of tools whose JSON schema is given (a data set's, an MCP server's): checked, never coerced."""

from __future__ import annotations

from typing import Any

import msgspec
from jsonschema import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from rollway.errors import nearest
from rollway.tools.arguments import InvalidArguments, shown
from rollway.tools.binding import explain
from rollway.tools.schema_patterns import with_safe_patterns


class SchemaBinder(msgspec.Struct, frozen=True):
    """Checks arguments against a schema and hands them on as they are."""

    validator: Any  # jsonschema's Validator
    names: list[str]  # the properties that the schema names
    required: list[str]

    @classmethod
    def of(cls, name: str, schema: dict[str, Any]) -> SchemaBinder:
        """Check the schema itself.

        Raises:
            ValueError: it is no JSON schema, or not one of an object.
        """
        if not isinstance(schema, dict) or schema.get("type", "object") != "object":
            raise ValueError(f'tool {name!r}: the parameters must be a JSON schema with "type": "object"')
        kind = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise ValueError(
                f"tool {name!r}: invalid JSON schema at {error.json_path}: {error.message}"
            ) from None
        # An empty registry keeps jsonschema from fetching a "$ref" from the network.
        validator: Validator = with_safe_patterns(kind)(schema, registry=Registry())
        return cls(validator, list(schema.get("properties", {})), list(schema.get("required", [])))

    def bind(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Validate.

        Raises:
            InvalidArguments: naming every parameter that is wrong, missing or unknown.
        """
        try:
            faults = sorted(
                self.validator.iter_errors(arguments), key=lambda fault: list(map(str, fault.path))
            )
        except RecursionError:
            raise InvalidArguments("the arguments are nested too deeply") from None
        except Unresolvable as error:
            raise ValueError(
                f"the tool's schema refers to {error.ref!r}, which it does not contain"
            ) from None
        if faults:
            raise InvalidArguments(self._explain(faults, arguments))
        return (), arguments

    def _explain(self, faults: list[ValidationError], arguments: dict[str, Any]) -> str:
        wrong: dict[str, list[str]] = {}
        missing: list[str] = []
        unknown: list[str] = []
        for fault in faults:
            if not fault.path and fault.validator == "required":
                missing += [repr(name) for name in self.required if name not in arguments]
            elif not fault.path and fault.validator == "additionalProperties":
                extra = [name for name in arguments if name not in self.names]
                unknown += [f"{name!r}{nearest(name, self.names)}" for name in extra]
            else:
                path = fault.json_path.removeprefix("$.")
                wrong.setdefault(f"{path!r}, got {shown(fault.instance)}", []).append(_reason(fault))
        return explain(wrong, list(dict.fromkeys(missing)), list(dict.fromkeys(unknown)), self.names)


def _reason(fault: ValidationError) -> str:
    """jsonschema's words begin with the whole instance, which may be long; these do not."""
    if fault.validator in ("type", "enum", "const", "pattern", "format", "minimum", "maximum"):
        return f"must satisfy {fault.validator} {shown(fault.validator_value)}"
    return fault.message if len(fault.message) <= 200 else f"does not satisfy {fault.validator!r}"
