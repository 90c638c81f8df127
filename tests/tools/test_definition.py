"""A typed function becomes a tool: a small schema for the model, checked arguments for the function."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import math
import pickle
import re
import warnings
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Union, Unpack

import pytest
from pydantic import BaseModel, Field

from rollway.tools import InvalidArguments, Tool, tool

if TYPE_CHECKING:
    from nowhere import Unknown


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Tree(BaseModel):
    title: str
    children: list[Tree] = []


class Sizes(TypedDict):
    width: int


Loop = Union[int, "list[Loop]"]


class Opaque:
    pass


@tool
def search(query: str, limit: int = 10, *, colour: Colour | None = None) -> str:
    """Search the index.

    Args:
        query: what to look for
        limit (int): at most this many
    """
    return f"{query} {limit} {colour}"


def properties(of: Tool) -> Any:
    return of.parameters["properties"]


def complaint(of: Tool, arguments: str) -> str:
    with pytest.raises(InvalidArguments) as caught:
        of.bind(arguments)
    return str(caught.value)


def test_a_tool_is_described_as_the_openai_api_wants_it() -> None:
    assert search.definition() == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search the index.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "what to look for"},
                    "limit": {"type": "integer", "default": 10, "description": "at most this many"},
                    "colour": {
                        "anyOf": [{"type": "string", "enum": ["red", "blue"]}, {"type": "null"}],
                        "default": None,
                    },
                },
                "required": ["query"],
            },
        },
    }


def test_changing_a_definition_changes_nothing_else() -> None:
    search.definition()["function"]["parameters"]["properties"].clear()
    assert set(properties(search)) == {"query", "limit", "colour"}


def test_a_tool_is_still_the_function() -> None:
    assert search("a", colour=Colour.RED) == "a 10 Colour.RED"


def test_a_tool_can_have_a_name_and_description_of_its_own() -> None:
    @tool(name="look-up", description="Find.")
    def f(x: int) -> int:
        """Not this."""
        return x

    assert (f.name, f.description, f(3)) == ("look-up", "Find.", 3)


def test_a_tool_without_parameters_has_an_empty_schema() -> None:
    @tool
    def ping() -> str:
        return "pong"

    assert ping.parameters == {"type": "object", "properties": {}}
    assert ping.bind("") == ((), {})


def test_descriptions_come_from_annotations_before_docstrings() -> None:
    @tool
    def f(
        a: Annotated[int, "from the annotation"],
        b: Annotated[int, Field(ge=1, description="from the field")],
        c: Annotated[int, Field(ge=1)],
        d: int = Field(4, le=9, description="from the default"),
    ) -> int:
        """Do.

        Args:
            a: from the docstring
            b: from the docstring
            c: from the docstring
            d: from the docstring
        """
        return d

    assert properties(f) == {
        "a": {"type": "integer", "description": "from the annotation"},
        "b": {"type": "integer", "description": "from the field", "minimum": 1},
        "c": {"type": "integer", "description": "from the docstring", "minimum": 1},
        "d": {"type": "integer", "description": "from the default", "default": 4, "maximum": 9},
    }
    assert f.bind('{"a": 1, "b": 1, "c": 1}')[1] == {"a": 1, "b": 1, "c": 1, "d": 4}
    assert "'d', got 10: input should be less than or equal to 9" in complaint(
        f, '{"a": 1, "b": 1, "c": 1, "d": 10}'
    )


def test_a_description_may_stand_in_a_member_of_a_union() -> None:
    @tool
    def f(x: Annotated[int, "how many"] | None = None) -> None: ...

    assert properties(f)["x"]["description"] == "how many"


def test_nested_types_stand_where_they_are_used_and_arrive_as_objects() -> None:
    @tool
    def move(to: Point, via: list[Point] = [], how: Literal["walk", "run"] = "walk") -> str:  # noqa: B006
        return f"{to} {via} {how}"

    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
        "required": ["x"],
    }
    assert properties(move) == {
        "to": point,
        "via": {"type": "array", "items": point, "default": []},
        "how": {"type": "string", "enum": ["walk", "run"], "default": "walk"},
    }
    assert move.bind('{"to": {"x": 1}, "via": [{"x": 2, "y": 3}]}')[1] == {
        "to": Point(1),
        "via": [Point(2, 3)],
    }


def test_a_type_that_refers_to_itself_stays_a_definition_and_a_property_named_title_stays() -> None:
    @tool
    def plant(tree: Tree) -> str:
        return tree.title

    assert plant.parameters == {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Tree"}},
        "required": ["tree"],
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "title": {"type": "string"},
                    "children": {"type": "array", "default": [], "items": {"$ref": "#/$defs/Tree"}},
                },
                "required": ["title"],
            }
        },
    }


def test_a_schema_has_no_titles() -> None:
    def titles(schema: Any) -> int:
        if isinstance(schema, list):
            return sum(map(titles, schema))
        if not isinstance(schema, dict):
            return 0
        return isinstance(schema.get("title"), str) + sum(map(titles, schema.values()))

    @tool
    def f(title: str, point: Point, tree: Tree, colour: Colour, table: dict[str, Point]) -> None: ...

    assert titles(f.parameters) == 0
    assert "title" in properties(f)


AWKWARD = [
    "name",
    "action",
    "self",
    "cls",
    "schema",
    "model_config",
    "model_fields",
    "json",
    "copy",
    "function",
    "args",
    "kwargs",
    "arguments",
    "timeout",
    "p0",
    "p1",
    "title",
    "properties",
    "description",
    "_private",
    "__dunder__",
    "validate",
    "tool",
]


def test_a_parameter_may_have_any_name() -> None:
    scope: dict[str, Any] = {}
    exec(f"def f({', '.join(f'{name}: int' for name in AWKWARD)}):\n    return dict(locals())", scope)
    made = tool(scope["f"])
    given = {name: number for number, name in enumerate(AWKWARD)}
    assert list(properties(made)) == AWKWARD
    args, kwargs = made.bind(str(given).replace("'", '"'))
    assert made(*args, **kwargs) == given
    assert complaint(made, "{}") == "missing " + ", ".join(map(repr, AWKWARD))


def test_arguments_are_coerced_where_that_loses_nothing() -> None:
    assert search.bind('{"query": "q", "limit": "3", "colour": "blue"}') == (
        (),
        {"query": "q", "limit": 3, "colour": Colour.BLUE},
    )


def test_defaults_are_the_functions_own() -> None:
    marker = object()

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @tool
        def f(x: int = 1, y: Any = marker) -> Any:
            return y

    assert properties(f) == {"x": {"type": "integer", "default": 1}, "y": {}}
    args, kwargs = f.bind("")
    assert kwargs == {}
    assert f(*args, **kwargs) is marker


def test_a_default_of_none_allows_null() -> None:
    @tool
    def f(x: int = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return x

    assert f.bind('{"x": null}')[1] == {"x": None}


def test_positional_only_parameters_and_keyword_collectors_work() -> None:
    @tool
    def f(a: int, b: int = 2, /, **rest: Any) -> Any:
        return a, b, rest

    args, kwargs = f.bind('{"a": 1, "a2": 3, "p0": 4}')
    assert f(*args, **kwargs) == (1, 2, {"a2": 3, "p0": 4})


def test_further_arguments_are_of_the_type_that_the_function_says() -> None:
    @tool
    def f(a: int, **rest: int) -> Any: ...

    assert f.parameters["additionalProperties"] == {"type": "integer"}
    assert f.bind('{"a": 1, "b": "2"}') == ((), {"a": 1, "b": 2})
    assert complaint(f, '{"a": 1, "b": "x"}').startswith("'b', got \"x\": input should be a valid integer")


def test_the_items_of_an_iterable_are_checked_before_the_call() -> None:
    @tool
    def f(numbers: Iterable[int], words: Annotated[Iterable[str] | None, "some"] = None) -> Any: ...

    assert f.bind('{"numbers": [1, "2"], "words": ["a"]}')[1] == {"numbers": [1, 2], "words": ["a"]}
    assert properties(f)["words"]["description"] == "some"
    assert complaint(f, '{"numbers": [1, "x"]}').startswith("'numbers[1]', got \"x\"")
    assert complaint(f, '{"numbers": [1], "words": "letters"}').startswith("'words', got \"letters\"")


def test_a_default_that_json_cannot_say_is_left_out_of_the_schema() -> None:
    @tool
    def f(x: float = math.nan, y: float = -math.inf, z: float = 1.5) -> Any: ...

    number = {"type": "number"}
    assert properties(f) == {"x": number, "y": number, "z": {**number, "default": 1.5}}


def test_anything_may_be_null_without_a_word_about_it() -> None:
    @tool
    def f(x=None) -> Any:  # type: ignore[no-untyped-def]
        return x

    assert properties(f) == {"x": {"default": None}}
    assert f.bind('{"x": null}')[1] == {"x": None}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "missing 'query'"),
        ('{"query": 5}', "'query', got 5: input should be a valid string"),
        ('{"query": "q", "limit": "many"}', "'limit', got \"many\": input should be a valid integer"),
        ('{"query": "q", "colour": "green"}', "'colour', got \"green\": input should be 'red' or 'blue'"),
        (
            '{"query": "q", "limmit": 3}',
            "unknown 'limmit' (did you mean 'limit'?); it takes query, limit, colour",
        ),
    ],
)
def test_a_complaint_names_the_parameter_what_was_expected_and_what_was_given(
    arguments: str, said: str
) -> None:
    assert said in complaint(search, arguments)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = complaint(search, '{"limit": [], "color": "red"}')
    assert "missing 'query'" in said
    assert "'limit', got []" in said
    assert "unknown 'color' (did you mean 'colour'?)" in said


def test_a_complaint_about_a_nested_value_gives_its_path_and_says_unions_once() -> None:
    @tool
    def f(points: list[Point], tag: int | bool | None = None) -> None: ...

    said = complaint(f, '{"points": [{"x": 1}, {"y": 2}, {"x": "q", "z": 1}], "tag": "q"}')
    assert "'points[1].x': " in said
    assert "'points[2].x', got \"q\": input should be a valid integer" in said
    assert "'points[2].z', got 1: unexpected keyword argument" in said
    assert said.count("'tag', got \"q\"") == 1
    assert "integer" in said.partition("'tag'")[2]
    assert "boolean" in said.partition("'tag'")[2]


def test_a_complaint_about_an_object_where_none_may_be_names_no_members_of_the_union() -> None:
    @tool
    def f(x: int | list[int] = 0, pair: tuple[int, int] = (0, 0)) -> None: ...

    said = complaint(f, '{"x": {}, "pair": [1]}')
    assert said.startswith("'x', got {}: input should be a valid integer or input should be a valid list; ")
    assert "'pair[1]': field required" in said


def test_deep_arguments_are_an_error_or_pass_but_never_overflow_the_stack() -> None:
    @tool
    def f(tree: Tree, anything: Any = None) -> None: ...

    for depth in (10, 300, 900):
        nested = '{"title": "t", "children": [' * depth + "]}" * depth
        if depth == 10:
            f.bind('{"tree": ' + nested + ', "anything": ' + nested + "}")
        else:
            said = complaint(f, '{"tree": ' + nested + ', "anything": ' + nested + "}")
            assert re.search("too deeply|maximum validation depth|recursion error", said)  # pydantic's words


def test_a_complaint_stays_short_however_much_is_wrong() -> None:
    @tool
    def f(points: list[Point], tree: Tree) -> None: ...

    deep = '{"title": "t", "children": [' * 50 + "3" + "]}" * 50
    said = complaint(f, '{"points": [' + ", ".join(["7"] * 1000) + '], "tree": ' + deep + "}")
    assert len(said) < 2500
    assert "more" in said


def test_a_bound_method_can_be_a_tool() -> None:
    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def count(self, by: int) -> int:
            """Count on."""
            self.total += by
            return self.total

    counter = Counter()
    made = tool(counter.count)
    assert (made.name, list(properties(made))) == ("count", ["by"])
    made(2)
    assert made(**made.bind('{"by": "3"}')[1]) == counter.total == 5


class Workspace:
    def __init__(self, start: int) -> None:
        self.start = start

    @tool
    def plus(self, x: int) -> int:
        """Add to the start."""
        return self.start + x


def test_a_decorated_method_is_a_tool_of_each_instance() -> None:
    one, two = Workspace(1), Workspace(2)
    assert list(properties(one.plus)) == ["x"]
    assert (one.plus(1), two.plus(1)) == (2, 3)
    assert one.plus.binder is two.plus.binder
    assert Workspace.plus.unbound


def test_async_functions_partials_and_wrapped_functions_can_be_tools() -> None:
    async def fetch(url: str, *, retries: int = 3) -> str:
        """Fetch."""
        return url

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert inspect.iscoroutinefunction(tool(fetch).function)
    assert tool(functools.partial(fetch, retries=9), name="fetch9").parameters["required"] == ["url"]
    assert tool(logged(fetch)).definition() == tool(fetch).definition()


def test_what_a_function_returns_need_not_be_known() -> None:
    @tool
    def f(x: int) -> Unknown: ...

    assert list(properties(f)) == ["x"]


@pytest.mark.parametrize("name", ["", "two words", "<lambda>", "x" * 129, "naïve"])
def test_a_name_that_servers_refuse_is_refused(name: str) -> None:
    def f() -> None: ...

    f.__name__ = name
    with pytest.raises(ValueError, match="name=") as caught:
        tool(f)
    assert repr(name) in str(caught.value)


def test_what_cannot_be_a_tool_says_which_parameter_is_to_blame() -> None:
    def opaque(a: int, what: Opaque) -> None: ...
    def unknown(a: int, what: Unknown) -> None: ...
    def several(a: int, *what: int) -> None: ...
    def unpacked(a: int, **what: Unpack[Sizes]) -> None: ...
    def looped(a: int, what: Loop) -> None: ...
    def opaque_rest(a: int, **what: Opaque) -> None: ...

    async def stream() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="tool 'opaque': parameter 'what' has a type without a JSON schema"):
        tool(opaque)
    with pytest.raises(
        TypeError, match="tool 'opaque_rest': parameter 'what' has a type without a JSON schema"
    ):
        tool(opaque_rest)
    with pytest.raises(TypeError, match="'Unknown' of parameter 'what' is not defined"):
        tool(unknown)
    with pytest.raises(TypeError, match=r"tool 'several' takes \*what"):
        tool(several)
    with pytest.raises(TypeError, match=r"tool 'unpacked' takes \*\*what of a TypedDict; use its keys"):
        tool(unpacked)
    with pytest.raises(
        TypeError, match=r"tool 'max': the parameters of .* cannot be read; wrap it in a function"
    ):
        tool(max)
    with pytest.raises(
        TypeError, match=r"tool 'looped': parameter 'what' has a type .*use pydantic.JsonValue"
    ):
        tool(looped)
    with pytest.raises(TypeError, match="tool 'stream' is an async generator; return a list"):
        tool(stream)
    with pytest.raises(TypeError, match="is already a tool"):
        tool(search)
    with pytest.raises(TypeError, match="needs a function, got a classmethod"):
        tool(classmethod(opaque))  # type: ignore[arg-type]


def test_a_tool_can_be_sent_to_another_process() -> None:
    from ray import cloudpickle

    copy = pickle.loads(cloudpickle.dumps(search))
    assert copy.definition() == search.definition()
    assert copy.bind('{"query": "q", "limit": "3"}') == ((), {"query": "q", "limit": 3})
    assert copy("a") == "a 10 None"
