"""Every value that is no config is told of in one line, and every config survives its own file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig, validate
from rollway.evaluation.config.faults import faults
from rollway.evaluation.yaml_text import parse_yaml, write_yaml


def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """All records that a config may hold, itself first."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from structs(field.type)
    for argument in get_args(kind):
        yield from structs(argument)


STRUCTS = list(dict.fromkeys(structs(EvalConfig)))
FIELDS = [(struct, field) for struct in STRUCTS for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize(("struct", "field"), FIELDS, ids=[f"{s.__name__}.{f.name}" for s, f in FIELDS])
def test_what_a_field_should_be_can_be_said_of_every_field(struct: Any, field: Any) -> None:
    (fault,) = faults(field.type, object())
    assert fault.message.startswith("should be ")
    assert "object at" in fault.message


VALUES = [None, True, 0, 1, 3, -1, 0.5, "x", "http://a", "token", [], ["x", 1], {}, {"x": "y"}, {"tool": 1}]


def sections(struct: Any, fitting: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Plain values for some fields of a record: such as fit, or any."""
    fields = {field.name: values(field.type, fitting) for field in msgspec.structs.fields(struct)}
    return st.fixed_dictionaries({}, optional=fields)


def values(kind: Any, fitting: bool) -> st.SearchStrategy[Any]:
    within = [struct for struct in STRUCTS if struct in (kind, *get_args(kind))]
    single = [value for value in VALUES if not fitting or not [*faults(kind, value)]]
    return st.one_of(*(sections(struct, fitting) for struct in within), st.sampled_from(single or [None]))


@settings(deadline=None, max_examples=100)
@given(sections(EvalConfig, fitting=True) | sections(EvalConfig, fitting=False))
def test_any_values_are_a_config_or_one_line(given: dict[str, Any]) -> None:
    try:
        config = validate({"environment": "x", **given}, "c.yaml")
    except UserError as error:
        complaint = str(error)
    else:
        written = write_yaml(config.as_dict())
        assert validate(parse_yaml(written, "config.yaml"), "config.yaml") == config
        return
    assert complaint.startswith("c.yaml: ")
    assert "\n" not in complaint
