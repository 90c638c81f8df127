"""Rules decide in their order; what they refuse does not run, and what they leave nothing of is not shown."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.tools import ExecutedCall, RolloutContext, Rule, Tool, ToolPool, ToolRegistry, execute_call, tool
from rollway.tools.patterns import fits, is_under, values_of
from rollway.tools.rules import refusal
from rollway.trajectory import ToolCall, ToolErrorKind

TOOLS = ("terminal", "read_file", "write_file")


@tool
def terminal(command: str, timeout: int = 5) -> str:
    """Run."""
    return f"ran {command}"


@tool
def read_file(path: str = "notes.txt") -> str:
    """Read."""
    return f"read {path}"


@tool
def copy_files(paths: list[Path], target: str = "") -> int:
    """Copy."""
    return len(paths)


class Elsewhere:
    """A sandbox as far as rules look at one."""

    workspace = "/workspace"


async def ran(
    registry: ToolRegistry, name: str, *, workspace: bool = False, **arguments: Any
) -> ExecutedCall:
    context = RolloutContext(sandbox=Elsewhere() if workspace else None)  # type: ignore[arg-type]
    with ToolPool(1) as pool:
        call = ToolCall("call_1", name, json.dumps(arguments))
        return await execute_call(call, registry=registry, pool=pool, turn=1, context=context)


async def test_a_model_is_not_told_that_a_tool_is_forbidden_where_an_argument_decides() -> None:
    rules = [
        Rule(tool="read_file", argument="path", under="public", allow=True),
        Rule(tool="read_file", allow=False),
    ]
    executed = await ran(ToolRegistry([read_file], rules=rules), "read_file", path="secret")
    assert executed.result.content == "Error: tool 'read_file' is not allowed with this 'path'"


async def test_a_refused_call_does_not_run_and_the_model_is_told() -> None:
    rules = [
        Rule(tool="terminal", argument="command", matches="git *", allow=True),
        Rule(tool="terminal", allow=False, told="Only git may be used."),
    ]
    registry = ToolRegistry([terminal, read_file], rules=rules)
    assert registry.names == ["terminal", "read_file"]
    assert (await ran(registry, "terminal", command="git log")).result.content == "ran git log"
    assert (await ran(registry, "read_file")).error is None
    executed = await ran(registry, "terminal", command="rm -r .")
    assert executed.result.content == "Only git may be used."
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.NOT_ALLOWED


async def test_a_tool_that_nothing_is_left_of_is_neither_shown_nor_run() -> None:
    rules = [
        Rule(tool="read_*", allow=True),
        Rule(tool="*", allow=False),
    ]
    registry = ToolRegistry([terminal, read_file], rules=rules)
    assert registry.names == ["read_file"]
    assert [entry["function"]["name"] for entry in registry.definitions()] == ["read_file"]
    executed = await ran(registry, "terminal", command="ls")
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.NOT_ALLOWED
    assert executed.result.content == "Error: tool 'terminal' is not allowed here; the tools are: read_file"
    hidden = ToolRegistry([terminal], rules=[Rule(tool="terminal", allow=False, told="Use the editor.")])
    assert (await ran(hidden, "terminal", command="ls")).result.content == "Use the editor."
    everything = Rule(tool="terminal", argument="command", matches="*", allow=False)
    assert ToolRegistry([terminal], rules=[everything]).names == []


async def test_defaults_and_coerced_values_are_what_rules_look_at() -> None:
    refused = Rule(argument="path", matches="notes*", allow=False)
    executed = await ran(ToolRegistry([read_file], rules=[refused]), "read_file")
    assert executed.result.content == "Error: tool 'read_file' is not allowed with this 'path'"
    within = [
        Rule(tool="copy_files", argument="paths", under="src", allow=True),
        Rule(tool="copy_files", allow=False),
    ]
    registry = ToolRegistry([copy_files], rules=within)
    assert (await ran(registry, "copy_files", paths=["src/a", "src/b"])).result.content == "2"
    for paths in (["src/a", "etc/b"], ["src/../b"], [], ["src", "~/x"], ["/src"], ["src2/a"]):
        assert (await ran(registry, "copy_files", paths=paths)).error is not None


async def test_relative_paths_begin_in_the_sandboxs_workspace() -> None:
    rules = [
        Rule(argument="path", under="/workspace/src", allow=True),
        Rule(tool="read_file", allow=False),
    ]
    registry = ToolRegistry([read_file], rules=rules)
    for path in ("src/a", "/workspace/src", "./src//a", "/workspace/x/../src/a", "../workspace/src/a"):
        assert (await ran(registry, "read_file", workspace=True, path=path)).error is None, path
    for path in ("a", "src/../../src", "/workspace/srcs/a", "/src/a", "//etc/passwd", "~/src"):
        assert (await ran(registry, "read_file", workspace=True, path=path)).error is not None, path
    assert (await ran(registry, "read_file", path="src/a")).error is not None  # nobody knows where that is


@pytest.mark.parametrize(
    "value", ["/a/b", "//a/b", "/a/./c/../b", "b", "~/b", "../a/b", ["x", "/a/b"], object()]
)
def test_a_refusal_holds_for_whatever_may_fit(value: Any) -> None:
    rule = Rule(argument="path", under="/a", allow=False)
    assert fits(rule, "read_file", {"path": value}, None, strictly=False)


@pytest.mark.parametrize("value", ["/ab", "/", "/b/a", "/a/../b"])
def test_names_that_only_begin_alike_are_not_under(value: str) -> None:
    assert is_under(value, "/a") is False


paths = st.lists(st.sampled_from(["a", "b", "ab", "..", ".", ""]), max_size=6).map("/".join)


@given(paths, paths)
def test_under_is_what_the_kernel_would_say_without_links(path: str, folder: str) -> None:
    path, folder = f"/{path}", f"/{folder}"
    inside, outer = (posixpath.normpath(one).replace("//", "/") for one in (path, folder))
    assert is_under(path, folder) is (posixpath.commonpath([inside, outer]) == outer)
    relative = path.lstrip("/")
    assert is_under(relative, folder, "/a") is is_under(f"/a/{relative}", folder)


words = st.sampled_from(["git log", "git", "rm x", "ls\nrm x", ""])
rules = st.builds(
    Rule,
    tool=st.sampled_from(["*", "terminal", "*_file", "nothing"]),
    argument=st.just("command"),
    matches=st.sampled_from(["git*", "*rm*", "*", "ls"]),
    allow=st.booleans(),
) | st.builds(Rule, tool=st.sampled_from(["*", "terminal", "*_file"]), allow=st.booleans())


@given(st.lists(rules, max_size=5), st.sampled_from(TOOLS), words)
def test_the_first_rule_that_fits_decides(listed: list[Rule], name: str, command: str) -> None:
    def decides(rule: Rule) -> bool:
        return fits(rule, name, {"command": command}, None, strictly=rule.allow)

    told = refusal(listed, name, {"command": command}, None)
    first = next((rule for rule in listed if decides(rule)), None)
    assert (told is None) == (first is None or first.allow)
    if first is not None:  # and what stands after it changes nothing
        kept = listed[: listed.index(first) + 1]
        assert refusal(kept, name, {"command": command}, None) == told


@given(st.lists(rules, max_size=5), words)
def test_no_call_of_a_hidden_tool_is_allowed(listed: list[Rule], command: str) -> None:
    try:
        registry = ToolRegistry([terminal], rules=listed)
    except ValueError:
        return
    if registry.is_hidden("terminal"):
        assert refusal(listed, "terminal", {"command": command, "timeout": 5}, None) is not None


def test_rules_that_cannot_mean_what_they_say_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rules\[0\]: 'terminal' has no argument 'comand' \(did you mean"):
        ToolRegistry([terminal], rules=[Rule(tool="terminal", argument="comand", matches="rm*", allow=False)])
    with pytest.raises(ValueError, match=r"rules\[0\] has no effect"):
        ToolRegistry([terminal], rules=[Rule(argument="command", matches="git *", allow=True)])
    for wrong in ({"argument": "x"}, {"matches": "y"}, {"argument": "x", "matches": "y", "under": "z"}):
        with pytest.raises(ValueError, match="a rule"):
            Rule(allow=True, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tool": "x", "allow": "no"}, "allow must be true or false, got 'no'"),
        ({"tool": 3, "allow": False}, "tool must be a string, got 3"),
        ({"tool": "x", "argument": "a", "matches": 3, "allow": False}, "matches must be a string, got 3"),
        (
            {"tool": "x", "argument": "a", "under": Path("/a"), "allow": True},
            "under must be a string, got Pos",
        ),
    ],
)
def test_a_rule_with_a_field_of_a_wrong_type_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rule(**fields)


async def test_no_value_of_a_model_breaks_a_rule() -> None:
    made = Tool.from_schema("take", "", {"type": "object"}, lambda value=None: "taken")
    registry = ToolRegistry([made], rules=[Rule(argument="value", matches="rm*", allow=False)])
    deep: Any = "rm x"
    for _ in range(300):
        deep = [deep]
    refused = await ran(registry, "take", value=deep)
    assert refused.error is not None
    assert refused.error.kind is ToolErrorKind.NOT_ALLOWED
    unknown = await ran(registry, "take", values=1)
    assert unknown.error is not None
    assert unknown.error.kind is ToolErrorKind.EXCEPTION  # as without rules


def test_rules_stand_in_a_config() -> None:
    text = {"tool": "terminal", "argument": "command", "matches": "rm *", "allow": False}
    assert msgspec.convert(text, Rule) == Rule(**text)  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError, match="unknown field `alow`"):
        msgspec.convert({"alow": True, "allow": True}, Rule)


def test_values_go_by_the_functions_own_names() -> None:
    def function(a: int, /, b: int = 2, *, c: int = 3, **more: int) -> None: ...

    assert values_of(function, (1,), {"d": 4}) == {"a": 1, "b": 2, "c": 3, "d": 4}
    made = Tool.from_schema("x", "", {"type": "object"}, lambda **given: given)
    assert values_of(made.function, (), {"a": 1}) == {"a": 1}
