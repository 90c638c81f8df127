"""``python``: one interpreter per rollout, the sandbox's own, which keeps its variables.

A driver (`python_driver.py`) is passed on the command line, so the workspace has no file of Rollway's.
"""

import json
import time
from importlib import resources
from typing import Annotated

from rollway.tools.builtin.live_process import Answer, Ending, new_nonce
from rollway.tools.builtin.output import terminal_text, with_note
from rollway.tools.builtin.session import DEFAULT_TIMEOUT, Session, look_for, seconds_in, seconds_setting
from rollway.tools.context import RolloutContext
from rollway.tools.definition import Tool, ToolOutput, tool
from rollway.tools.sandboxes.protocol import Sandbox, SandboxProcess

MAX_CHARS = 20_000  # of a call's output, unless the caller says otherwise
_KEY = "rollway.python"
_ENVIRONMENT = {"TERM": "dumb", "PYTHONIOENCODING": "utf-8:backslashreplace", "MPLBACKEND": "Agg"}


def python_tool(
    *, timeout: float = DEFAULT_TIMEOUT, max_chars: int = MAX_CHARS, interpreter: str = "python3"
) -> Tool:
    """The ``python`` tool.

    Args:
        timeout: seconds that a call may take. A rollout whose `Limits.tool_timeout` is not some seconds
            above gives less.
        max_chars: of output that the model is shown; the middle of more is cut.
        interpreter: as the sandbox finds it; Python 3.7 or newer.
    """
    seconds_setting(timeout, "python_tool")

    async def start(sandbox: Sandbox) -> SandboxProcess:
        driver = resources.files("rollway.tools.builtin").joinpath("python_driver.py").read_text("utf-8")
        return await sandbox.start([interpreter, "-c", driver], environment=_ENVIRONMENT)

    async def python(
        code: Annotated[str, "Python code"],
        sandbox: Sandbox,
        context: RolloutContext,
    ) -> ToolOutput:
        deadline = time.monotonic() + seconds_in(context, timeout)
        session = Session.of(context.notes, _KEY)
        await session.turn(deadline, "python")
        try:
            seconds = deadline - time.monotonic()
            live, _ = await session.live(lambda: start(sandbox))
            nonce = new_nonce()
            request = json.dumps({"code": code, "nonce": nonce}).encode() + b"\n"
            answer = await live.ask(request, nonce, deadline=deadline)
            told = _told(answer, seconds, max_chars, lost=session.lost)
            session.settle(answer)
            await look_for(interpreter, answer, sandbox)
            return told
        finally:
            session.lock.release()

    return tool(
        python,
        description="Run Python code. Variables, functions and imports are kept between calls. Returns what "
        "was printed, and the value of the last expression.",
    )


def _told(answer: Answer, seconds: float, max_chars: int, *, lost: bool) -> ToolOutput:
    output = terminal_text(answer.output)
    new = "The next call starts a new interpreter; variables and imports are gone."
    why = "wrote too much output" if answer.flooded else f"did not finish within {seconds:.3g} s"
    match answer.ending:
        case Ending.ANSWERED:
            note = "" if output.strip() else "[no output]"
        case Ending.STOPPED:
            note = f"[killed: the code's processes, because the code {why}; variables are kept]"
        case Ending.KILLED:
            note = f"[killed: the code {why}. {new}]"
        case Ending.ENDED:
            code = "" if answer.exit_code is None else f" with exit code {answer.exit_code}"
            note = f"[the code ended the interpreter{code}. {new}]"
    if lost:
        note += "\n[The previous interpreter was gone: this is a new one, without its variables.]"
        note = note.lstrip("\n")
    if not note:
        return ToolOutput(with_note(output, "", max_chars).rstrip("\n"))
    return ToolOutput(with_note(output, note, max_chars), ok=answer.ending is Ending.ANSWERED)
