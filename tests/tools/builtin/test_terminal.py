"""A shell that stays alive, whatever the model does to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from rollway.tools import ExecutedCall
from rollway.tools.builtin import terminal_tool
from rollway.tools.context import RolloutContext
from rollway.trajectory import ToolErrorKind

Run = Callable[..., Awaitable[str]]
Execute = Callable[..., Awaitable[ExecutedCall]]
Patience = Callable[[], AbstractContextManager[None]]
SHORT = 0.4  # seconds, for commands that hang
LONGER = (SHORT, 4.0, 30.0)  # for those that do something before, until a slow machine has got to it


@pytest.fixture
def sh(call: Run) -> Run:
    tool = terminal_tool(timeout=100)

    async def run(command: str, **arguments: Any) -> str:
        return await call(tool, command=command, **arguments)

    return run


async def test_directory_variables_functions_and_jobs_stay(sh: Run, workspace: Path) -> None:
    first = await sh("mkdir -p a/b; cd a/b; x=5; export y=6; f() { echo f$1; }; sleep 60 &")
    assert first == "[exit code 0]"
    assert await sh("pwd") == f"{workspace}/a/b\n[exit code 0]"
    assert await sh("echo $x; f 3; printenv y; jobs | grep -c Running") == "5\nf3\n6\n1\n[exit code 0]"


async def test_the_exit_code_is_told_and_kept_for_the_next_command(sh: Run) -> None:
    assert await sh("(exit 7)") == "[exit code 7]"
    assert await sh("echo $?") == "7\n[exit code 0]"


async def test_stdout_and_stderr_come_in_the_order_written(sh: Run) -> None:
    assert await sh("echo a; echo b >&2; echo c; nonsense") == (
        "a\nb\nc\nbash: nonsense: command not found\n[exit code 127]"
    )


ODD: list[tuple[str, str | None]] = [
    ("cat", "[exit code 0]"),
    ('read line; echo "[$line]"', "[]\n[exit code 0]"),
    ("printf end", "end\n[exit code 0]"),
    ("cat <<E\nhere $((1+1))\nE", "here 2\n[exit code 0]"),
    ("cat <<'E'\n$x 'quotes' \"and\"\nE", "$x 'quotes' \"and\"\n[exit code 0]"),
    ("printf '\\033[31mred\\033[0m \\033]0;title\\007plain\\n'", "red plain\n[exit code 0]"),
    ("printf '10%%\\r50%%\\r100%%\\nnext\\r\\n'", "100%\nnext\n[exit code 0]"),
    ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n[exit code 0]"),
    ("echo one \\\n  two", "one two\n[exit code 0]"),
    ("echo ü 日本", "ü 日本\n[exit code 0]"),
    ("", "[exit code 0]"),
    ("# only a comment", "[exit code 0]"),
    ("exec >file; echo hidden", "[exit code 0]"),
    ("exec 2>&-; echo shown", "shown\n[exit code 0]"),
    ("return 3; echo x", None),
    ("break", None),
    ("echo 'unbalanced", None),
    ("echo )", None),
    ("if true; then", None),
    ("cat <<E\nnever ended", None),
    ("set -x; echo a", None),
    ("set -v", None),
    ("trap 'echo trapped' DEBUG", None),
]


async def test_odd_commands_leave_a_shell_that_answers(sh: Run) -> None:
    await sh("kept=yes")
    for command, told in ODD:
        said = await sh(command)
        assert said == told if told is not None else "[exit code " in said, command
        assert "yes" in await sh("set +xv; trap - DEBUG; echo $kept"), command
        assert await sh("echo $kept") == "yes\n[exit code 0]", command


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("exec true", 0), ("kill -9 $$", 137), ("set -e; false", 1), ("sleep 300 & exit 4", 4)],
)
async def test_a_shell_that_is_ended_is_begun_anew_in_its_directory(sh: Run, command: str, code: int) -> None:
    await sh("mkdir sub; cd sub; x=5")
    said = await sh(f"echo before; {command}")
    assert said.startswith(f"before\n[the command ended the shell with exit code {code}. A new shell is in /")
    assert "variables, functions and background jobs are gone" in said
    assert await sh("basename $PWD; echo x=$x") == "sub\nx=\n[exit code 0]"


async def test_a_command_past_its_deadline_is_killed_and_the_shell_and_older_jobs_stay(
    sh: Run, execute: Execute, workspace: Path, patience: Patience
) -> None:
    await sh("x=5; sleep 300 & echo $! >job")
    tool, command = terminal_tool(timeout=60), "echo begun; touch got; sleep 301 & sleep 302 | cat"
    with patience():
        for timeout in LONGER:
            done = await execute(tool, command=command, timeout=timeout)
            if (workspace / "got").exists():
                break
    assert done.result.content.startswith("begun\n")
    assert re.search(r"did not finish within [\d.]+ s; the shell continues", done.result.content)
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.TOOL_REPORTED
    assert "5\nalive\n" in await sh("echo $x; kill -0 $(cat job) && echo alive")
    assert "sleep" not in await sh("ps -o args= --ppid $$ | grep -E 'sleep 30[12]'")


@pytest.mark.parametrize(
    "command", ["while :; do :; done", "while :; do sleep 0.01; done", "read -d x </dev/zero"]
)
async def test_a_shell_that_hangs_itself_is_killed_and_begun_anew(call: Run, sh: Run, command: str) -> None:
    await sh("mkdir sub; cd sub")
    said = await call(terminal_tool(timeout=10), command=command, timeout=SHORT)
    # Time that it waited for its shell is taken off.
    assert re.search(r"\[killed with its shell: the command did not finish within 0\.\d+ s\.", said)
    assert await sh("basename $PWD") == "sub\n[exit code 0]"


async def test_a_timeout_that_cannot_be_had_is_refused(sh: Run) -> None:
    assert "at most 100 seconds, got 101" in await sh("true", timeout=101)
    assert "above 0" in await sh("true", timeout=0)
    assert await sh("true", timeout=None) == "[exit code 0]"


async def test_calls_of_one_turn_run_one_after_the_other(sh: Run) -> None:
    told = await asyncio.gather(*(sh(f"n=$((n+1)); sleep 0.05; echo {i} $n") for i in range(3)))
    assert told == ["0 1\n[exit code 0]", "1 2\n[exit code 0]", "2 3\n[exit code 0]"]


async def test_a_call_that_waited_too_long_for_others_is_told_so(call: Run) -> None:
    tool = terminal_tool(timeout=0.5)
    first, second = await asyncio.gather(
        call(tool, command="while :; do :; done"), call(tool, command="echo second")
    )
    assert "killed with its shell" in first
    assert second.startswith("Not run: earlier calls used all the time")


async def test_a_call_that_the_engine_gives_up_takes_its_command_with_it(
    sh: Run, execute: Execute, workspace: Path
) -> None:
    tool = terminal_tool(timeout=10)
    for timeout in LONGER:
        done = await execute(tool, tool_timeout=timeout, command="echo $$ >shell; while :; do :; done")
        if (workspace / "shell").exists():
            break
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.TIMEOUT
    said = await sh("kill -0 $(cat shell) 2>/dev/null || echo ended")
    assert said.startswith("ended\n[exit code 0]\n[The previous shell was gone")
    assert await sh("true") == "[exit code 0]"


async def test_long_output_is_cut_in_the_middle(call: Run) -> None:
    told = await call(terminal_tool(max_chars=1000), command="seq 100000")
    assert len(told) < 1100
    assert told.startswith("1\n2\n")
    assert told.endswith("\n99999\n100000\n[exit code 0]")
    assert "characters cut" in told


async def test_endless_output_is_stopped_before_the_deadline(call: Run) -> None:
    told = await call(terminal_tool(max_chars=1000), command="yes")
    assert "[killed: the command wrote too much output; the shell continues" in told


async def test_binary_output_is_told_in_words(sh: Run) -> None:
    assert await sh("head -c 5000 /dev/zero; exit_code=0") == (
        "[5000 bytes of binary output, not shown]\n[exit code 0]"
    )


async def test_the_end_mark_cannot_be_told_from_an_earlier_one(sh: Run) -> None:
    """A command that prints what a mark looks like, and one that reads how the shell is driven."""
    forged = "printf '\\036%s:0:/:%s\\036' aaaa aaaa; sleep 0.1; echo end"
    assert (await sh(forged)).endswith("end\n[exit code 0]")
    assert "builtin printf" not in await sh("set; history; declare -f; echo end")


async def test_output_of_a_background_job_comes_with_a_later_call_and_never_blocks_it(sh: Run) -> None:
    await sh("(until [ -e go ]; do sleep 0.02; done; seq 200000; echo done >finished) &")
    said = await sh("touch go; until [ -e finished ]; do sleep 0.02; done; echo waited")
    assert said.endswith("200000\nwaited\n[exit code 0]")


async def test_nul_and_half_a_surrogate_pair_are_no_trouble(sh: Run) -> None:
    assert "NUL" in await sh("echo a\0b")
    assert await sh("echo \ud800x") == "?x\n[exit code 0]"


async def test_a_command_of_half_a_megabyte_runs(sh: Run) -> None:
    assert await sh(f"x='{'y' * 500_000}'; echo ${{#x}}") == "500000\n[exit code 0]"


async def test_a_removed_directory_does_not_stop_the_shell(sh: Run) -> None:
    await sh("mkdir gone; cd gone; rmdir ../gone")
    await sh("exit")
    assert (await sh("echo here")).endswith("here\n[exit code 0]")


async def test_without_a_sandbox_the_model_is_told(execute: Execute, context: RolloutContext) -> None:
    context.sandbox = None
    done = await execute(terminal_tool(), command="true")
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.SANDBOX


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_setting_that_makes_no_sense_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be positive"):
        terminal_tool(timeout=timeout)
