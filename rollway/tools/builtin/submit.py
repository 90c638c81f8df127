"""``submit``: the model hands in its answer, and the rollout ends. A reward reads it as
`Trajectory.answer`."""

from __future__ import annotations

from typing import Annotated, Any

from rollway.tools.definition import Tool, ToolOutput, tool
from rollway.trajectory import Trajectory, submission


class _NumbersToo:
    """A text, for which a number will do: small models write both. Pydantic asks for the schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # slow to import

        return core_schema.str_schema(coerce_numbers_to_str=True)


Answer = Annotated[str, _NumbersToo(), "the answer"]


def submit_tool() -> Tool:
    """The ``submit`` tool."""
    return tool(submit)


async def submit(answer: Answer) -> ToolOutput:
    """Hand in the final answer and end."""
    return ToolOutput("Submitted.", stop=True)


def submitted_answer(trajectory: Trajectory) -> str | None:
    """What the model last handed in by `submit`, also where something else ended the rollout; ``None`` when
    it never did so with success."""
    for turn in reversed(trajectory.turns):
        answer = submission(turn)
        if answer is not None:
            return answer
    return None
