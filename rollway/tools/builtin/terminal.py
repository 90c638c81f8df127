"""``terminal``: one bash per rollout, which keeps its directory, variables, functions and background jobs.

The model's command runs in that very shell, by ``eval``, with nothing to read on its standard input. Whatever
it does to the shell, the next call finds one that answers, and its result tells if that is a new one.
"""

import re
import shlex
import time
from typing import Annotated

from rollway.tools.builtin.live_process import Answer, Ending, new_nonce
from rollway.tools.builtin.output import terminal_text, with_note
from rollway.tools.builtin.session import (
    DEFAULT_TIMEOUT,
    Session,
    allowed_seconds,
    look_for,
    seconds_in,
    seconds_setting,
)
from rollway.tools.context import RolloutContext
from rollway.tools.definition import Tool, ToolFailed, ToolOutput, tool
from rollway.tools.sandboxes.protocol import Sandbox

MAX_CHARS = 20_000  # of a command's output, unless the caller says otherwise
_KEY = "rollway.terminal"
_OUT = 198  # the shell's own copy of its output: `exec >file` in a command cannot take it away
_ENVIRONMENT = {
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    "PYTHONUNBUFFERED": "1",  # what a script had printed when it was killed is shown
}
_LINE = re.compile(r"^bash: (?:eval: )?line \d+: ", re.MULTILINE)  # lines of our stream, no use to the model


def terminal_tool(*, timeout: float = DEFAULT_TIMEOUT, max_chars: int = MAX_CHARS) -> Tool:
    """The ``terminal`` tool.

    Args:
        timeout: seconds that a command may run, and the most that the model may ask for. A rollout whose
            `Limits.tool_timeout` is not some seconds above gives less.
        max_chars: of output that the model is shown; the middle of more is cut.
    """
    most = seconds_setting(timeout, "terminal_tool")

    async def terminal(
        command: Annotated[str, "the command, or several lines of them"],
        sandbox: Sandbox,
        context: RolloutContext,
        timeout: Annotated[float | None, f"seconds before it is killed, at most {most:g}"] = None,
    ) -> ToolOutput:
        deadline = time.monotonic() + seconds_in(context, allowed_seconds(timeout, most))
        if "\0" in command:
            raise ToolFailed("Error: a command cannot contain a NUL character")
        session = Session.of(context.notes, _KEY)
        await session.turn(deadline, "terminal")
        try:
            seconds = deadline - time.monotonic()
            answer = await _run(sandbox, session, command, deadline)
            told = _told(session, answer, seconds, max_chars)
            session.settle(answer)
            await look_for("bash", answer, sandbox)
            return told
        finally:
            session.lock.release()

    return tool(
        terminal,
        description="Run a command in a bash shell. The shell goes on between calls: it keeps its directory, "
        "variables and background jobs. Standard input is empty. Returns stdout and stderr together, and the "
        "exit code.",
    )


async def _run(sandbox: Sandbox, session: Session, command: str, deadline: float) -> Answer:
    shell, new = await session.live(
        lambda: sandbox.start(["bash", "--noprofile", "--norc"], environment=_ENVIRONMENT)
    )
    nonce = new_nonce()
    request = _request(command, nonce, session.status)
    if new:
        request = _prelude(session.directory or sandbox.workspace) + request
    answer = await shell.ask(request.encode("utf-8", "replace"), nonce, deadline=deadline)
    if answer.trailer:
        status, _, directory = answer.trailer.decode("utf-8", "surrogateescape").partition(":")
        session.status, session.directory = int(status) if status.isdigit() else 0, directory
    else:
        session.status = 0  # of the next shell
    lines = answer.output.splitlines(keepends=True)
    clean = b"".join(line for line in lines if nonce.encode() not in line)  # what `set -x` and `set -v` echo
    return Answer(answer.ending, clean, answer.trailer, answer.exit_code, answer.flooded)


def _prelude(directory: str) -> str:
    return f"exec {_OUT}>&1\ncd -- {shlex.quote(directory)} 2>/dev/null\nshopt -s expand_aliases\n"


def _request(command: str, nonce: str, status: int) -> str:
    """Lines for the shell. The mark must not stand in them as it is printed, for ``set -v`` echoes them, and
    no line may begin with a reserved word, which bash does not know after a syntax error in ``eval``."""
    restore = f"[[ $- == *e* ]] || (exit {status})\n" if status else ""  # for a command that asks for $?
    return (
        f"exec 1>&{_OUT} 2>&{_OUT}\n{restore}eval {shlex.quote(command)} </dev/null\n"
        f'builtin printf \'\\036%s:%s:%s:%s\\036\' {nonce} "$?" "$PWD" {nonce} >&{_OUT} 2>/dev/null\n'
    )


def _told(session: Session, answer: Answer, seconds: float, max_chars: int) -> ToolOutput:
    output = _LINE.sub("bash: ", terminal_text(answer.output))
    new_shell = (
        f"A new shell is in {session.directory or 'the workspace'}; variables, functions and background jobs "
        f"are gone."
    )
    why = "wrote too much output" if answer.flooded else f"did not finish within {seconds:.3g} s"
    match answer.ending:
        case Ending.ANSWERED:
            note = f"[exit code {session.status}]"
        case Ending.STOPPED:
            note = f"[killed: the command {why}; the shell continues in {session.directory}]"
        case Ending.KILLED:
            note = f"[killed with its shell: the command {why}. {new_shell}]"
        case Ending.ENDED:
            code = "" if answer.exit_code is None else f" with exit code {answer.exit_code}"
            note = f"[the command ended the shell{code}. {new_shell}]"
    if session.lost:
        note += "\n[The previous shell was gone: this is a new one, without its variables.]"
    ok = answer.ending in (Ending.ANSWERED, Ending.ENDED)
    return ToolOutput(with_note(output, note, max_chars), ok=ok)
