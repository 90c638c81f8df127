"""Trajectories as a run leaves them, for tests of what is done with them afterwards."""

from __future__ import annotations

from typing import Any

from rollway.trajectory import (
    Attempt,
    ErrorRecord,
    StopReason,
    ToolCall,
    ToolError,
    ToolErrorKind,
    ToolResult,
    Trajectory,
    TrajectoryTiming,
    Turn,
    TurnTiming,
    Usage,
)


def make_trajectory(
    task_id: str = "t0", sample_index: int = 0, reward: float | None = 1.0, **fields: Any
) -> Trajectory:
    """Two turns, one call of ``add``; scored with one function named ``right`` unless ``reward`` is None."""
    call = ToolCall(id="call_0", name="add", arguments='{"a": 2, "b": 3}')
    turns = [
        Turn(
            index=0,
            token_ids=[1, 2, 3],
            logprobs=[-0.1, -0.2, -0.3],
            reasoning="I should add.",
            tool_calls=[call],
            finish_reason="tool_calls",
            usage=Usage(prompt_tokens=10, completion_tokens=3),
            server="http://127.0.0.1:8000",
            timing=TurnTiming(total=0.5, tools=0.1),
            tool_results=[ToolResult(call_id="call_0", name="add", content="5", ok=True, duration=0.1)],
        ),
        Turn(
            index=1,
            token_ids=[4, 5],
            logprobs=[-0.4, -0.5],
            content="The answer is 5.",
            finish_reason="stop",
            usage=Usage(prompt_tokens=20, completion_tokens=2),
            server="http://127.0.0.1:8000",
            timing=TurnTiming(total=0.3),
        ),
    ]
    values: dict[str, Any] = {
        "id": f"{task_id}-{sample_index}",
        "environment": "calculator",
        "task_id": task_id,
        "sample_index": sample_index,
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Use the tools."},
            {"role": "user", "content": "What is 2 + 3?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "I should add.",
                "tool_calls": [
                    {
                        "id": "call_0",
                        "type": "function",
                        "function": {"name": "add", "arguments": call.arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_0", "name": "add", "content": "5"},
            {"role": "assistant", "content": "The answer is 5."},
        ],
        "turns": turns,
        "rewards": {} if reward is None else {"right": reward},
        "reward": reward,
        "stop_reason": StopReason.COMPLETED,
        "timing": TrajectoryTiming(started=1_700_000_000.0, total=1.0, model=0.8, tools=0.1),
    }
    return Trajectory(**(values | fields))


def failed_trajectory(
    task_id: str = "t0",
    sample_index: int = 0,
    *,
    reason: StopReason = StopReason.MODEL_ERROR,
    kind: str = "ServerUnreachable",
) -> Trajectory:
    """A rollout that ended before its first reply."""
    error = (
        None if reason is StopReason.CANCELLED else ErrorRecord(kind=kind, message="no answer", where="model")
    )
    return make_trajectory(
        task_id,
        sample_index,
        None,
        turns=[],
        stop_reason=reason,
        error=error,
        timing=TrajectoryTiming(total=2.0),
    )


def unscored_trajectory(task_id: str = "t0", sample_index: int = 0) -> Trajectory:
    """A whole rollout whose reward function ``right`` raised."""
    error = ErrorRecord(kind="KeyError", message="'answer'", where="reward:right", traceback="Traceback ...")
    return make_trajectory(task_id, sample_index, None, error=error)


def trajectory_with_tool_error(task_id: str = "t0", sample_index: int = 0, **fields: Any) -> Trajectory:
    """As `make_trajectory`, its call having failed and its first model call having been tried twice."""
    trajectory = make_trajectory(task_id, sample_index, **fields)
    told = "The arguments are not valid JSON."
    trajectory.tool_errors = [
        ToolError(
            turn=1,
            tool_name="add",
            arguments='{"a": 2,',
            kind=ToolErrorKind.INVALID_ARGUMENTS,
            error="Expecting property name",
            tool_result=told,
        )
    ]
    trajectory.turns[0].tool_results = [ToolResult(call_id="call_0", name="add", content=told, ok=False)]
    trajectory.turns[0].attempts = [
        Attempt(error="ServerOverloaded", message="503", status=503, duration=0.2)
    ]
    return trajectory
