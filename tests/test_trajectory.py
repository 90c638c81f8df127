"""Records can be written as JSON and read back equal, and old or torn ones are told apart."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.trajectory import (
    Attempt,
    DroppedToken,
    ErrorRecord,
    FitReason,
    Parent,
    PromptFit,
    StopReason,
    TokenSequence,
    ToolCall,
    ToolError,
    ToolErrorKind,
    ToolResult,
    Trajectory,
    TrajectoryTiming,
    Turn,
    TurnTiming,
    Untrainable,
    Usage,
    VersionSpan,
    decode_trajectory,
    encode_trajectory,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
seconds = st.floats(0, 1e6)
counts = st.integers(0, 10**6)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
ids = st.lists(st.integers(0, 200_000), max_size=5)
logprobs = st.lists(st.floats(-50, 0), max_size=5)

calls = st.builds(ToolCall, text, text, text)
results = st.builds(ToolResult, text, text, text, st.booleans(), seconds, seconds, st.none() | counts)
errors = st.builds(ToolError, counts, text, text, st.sampled_from(ToolErrorKind), text, text)
attempts = st.builds(Attempt, text, text, st.none() | st.integers(100, 599), seconds)
turns = st.builds(
    Turn,
    index=counts,
    prompt_shared=counts,
    prompt_token_ids=st.none() | ids,
    token_ids=st.none() | ids,
    logprobs=st.none() | logprobs,
    reasoning=st.none() | text,
    content=st.none() | text,
    tool_calls=st.lists(calls, max_size=2),
    parsed_by=text,
    finish_reason=text,
    usage=st.builds(Usage, counts, counts, st.none() | counts),
    server=text,
    weight_version=st.none() | text,
    weight_versions=st.lists(st.builds(VersionSpan, text, counts, counts, st.none() | text), max_size=2),
    resumes=counts,
    dropped_stop=st.none() | st.builds(DroppedToken, counts, st.none() | st.floats(-50, 0)),
    prompt_fit=st.none() | st.sampled_from(PromptFit),
    prompt_fit_reason=st.none() | st.sampled_from(FitReason),
    attempts=st.lists(attempts, max_size=2),
    timing=st.builds(TurnTiming, seconds, st.none() | seconds, seconds, seconds),
    tool_results=st.lists(results, max_size=2),
    untrainable=st.none() | st.sampled_from(Untrainable),
)
sequences = st.builds(
    TokenSequence,
    token_ids=ids,
    loss_mask=ids,
    turn_index=ids,
    logprobs=st.none() | logprobs,
    weight_versions=st.none() | st.lists(st.none() | text, max_size=3),
)
trajectories = st.builds(
    Trajectory,
    id=text,
    messages=st.lists(st.dictionaries(text, json_values, max_size=3), max_size=3),
    environment=text,
    task_id=text,
    sample_index=counts,
    group_id=st.none() | text,
    model=text,
    seed=st.none() | counts,
    turns=st.lists(turns, max_size=3),
    sequences=st.lists(sequences, max_size=2),
    tool_errors=st.lists(errors, max_size=2),
    rewards=st.dictionaries(text, st.floats(-10, 10), max_size=2),
    reward=st.none() | st.floats(-10, 10),
    advantage=st.none() | st.floats(-10, 10),
    metrics=st.dictionaries(text, st.floats(-10, 10), max_size=2),
    stop_reason=st.none() | st.sampled_from(StopReason),
    error=st.none()
    | st.builds(ErrorRecord, text, text, text, st.none() | text, st.lists(attempts, max_size=1)),
    parent=st.none() | st.builds(Parent, text, counts),
    timing=st.builds(TrajectoryTiming, seconds, seconds, seconds, seconds),
    metadata=st.dictionaries(text, json_values, max_size=3),
)


@settings(max_examples=60)
@given(trajectories)
def test_a_trajectory_written_as_one_line_reads_back_equal(trajectory: Trajectory) -> None:
    line = encode_trajectory(trajectory)
    assert b"\n" not in line
    assert decode_trajectory(line) == trajectory


def test_every_line_names_its_schema_version() -> None:
    line = encode_trajectory(Trajectory(id="t1", messages=[]))
    assert msgspec.json.decode(line)["schema_version"] == 1


def test_a_line_of_another_schema_version_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="'t1' has schema version 99"):
        decode_trajectory(b'{"schema_version":99,"id":"t1","messages":[]}')


def test_a_torn_line_is_told_apart_from_a_wrong_one() -> None:
    line = encode_trajectory(Trajectory(id="t1", messages=[{"role": "user", "content": "hello"}]))
    with pytest.raises(msgspec.DecodeError):
        decode_trajectory(line[:-5])
    with pytest.raises(msgspec.ValidationError):
        decode_trajectory(b'{"id": 7, "messages": []}')


def ended(reason: StopReason | None, *messages: dict, turns: tuple[Turn, ...] = ()) -> Trajectory:
    question = {"role": "user", "content": "What is 2 + 3?"}
    return Trajectory(id="t", messages=[question, *messages], turns=list(turns), stop_reason=reason)


def handing_in(arguments: str, *, ok: bool = True, name: str = "submit", edited: str | None = None) -> Turn:
    result = ToolResult(call_id="c", name=name, content="", ok=ok, edited_arguments=edited)
    return Turn(index=0, tool_calls=[ToolCall("c", name, arguments)], tool_results=[result])


def test_the_answer_of_a_completed_rollout_is_its_closing_text():
    calls = {"role": "assistant", "content": "Let me add.", "tool_calls": []}
    result = {"role": "tool", "tool_call_id": "c", "content": "5"}
    assert ended(StopReason.COMPLETED, calls, result, {"role": "assistant", "content": "6"}).answer == "6"


def test_a_closing_message_in_parts_is_one_text():
    parts = [{"type": "text", "text": "It is "}, {"type": "image_url"}, {"type": "text", "text": "5."}]
    assert ended(StopReason.COMPLETED, {"role": "assistant", "content": parts}).answer == "It is 5."


@pytest.mark.parametrize("reason", [None, *(one for one in StopReason if one is not StopReason.COMPLETED)])
def test_a_rollout_that_ended_otherwise_has_no_answer_whatever_its_last_message_says(reason):
    assert ended(reason, {"role": "assistant", "content": "5"}).answer is None
    assert ended(reason, {"role": "tool", "tool_call_id": "c", "content": "5"}).answer is None


@pytest.mark.parametrize(
    ("turn", "answer"),
    [
        (handing_in('{"answer": "5"}'), "5"),
        (handing_in('{"answer": 5}'), "5"),
        (handing_in('{"solution": "5"}'), "5"),  # a submit of the user's own
        (handing_in('{"answer": "5", "confidence": 1}'), "5"),
        (handing_in('{"answer": "5"}', edited='{"answer": "6"}'), "6"),
        (handing_in('{"answer": "5"}', ok=False), None),
        (handing_in('{"answer": "5"}', name="leave"), None),
        (handing_in("{}"), None),
        (handing_in("5"), None),
        (handing_in("no JSON"), None),
    ],
)
def test_the_answer_of_a_rollout_that_submit_ended_is_what_was_submitted(turn, answer):
    assert ended(StopReason.TOOL_STOPPED, turns=(turn,)).answer == answer
    assert ended(StopReason.MAX_TURNS, turns=(turn,)).answer is None


def test_a_stored_trajectory_has_its_answer_too():
    stored = encode_trajectory(ended(StopReason.COMPLETED, {"role": "assistant", "content": "5"}))
    assert decode_trajectory(stored).answer == "5"
