"""The records of a rollout: what was said, sampled, called, scored and what went wrong.

Data only. Every record can be written as JSON and read back equal, and nothing in it needs the process
that made it. Token ids and logprobs are the server's own; what a server did not say is ``None``, never
a made-up value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from rollway.plain_values import plain

SCHEMA_VERSION = 1

Message = dict[str, Any]
"""One message in the OpenAI chat format. User messages of the engine itself have ``"name": "rollway"``."""

ENGINE_NAME = "rollway"
"""The ``name`` of user messages that the engine wrote (repair requests, nudges). Never trained on."""


class StopReason(StrEnum):
    """Why a rollout ended. Only ``completed`` means that the model ended it by answering."""

    COMPLETED = "completed"
    MAX_TURNS = "max_turns"
    MAX_TOKENS = "max_tokens"
    TRUNCATED = "truncated"
    CONTEXT_OVERFLOW = "context_overflow"
    EMPTY_RESPONSE = "empty_response"
    TOOL_STOPPED = "tool_stopped"
    ENVIRONMENT_DONE = "environment_done"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"
    MODEL_ERROR = "model_error"
    ENVIRONMENT_ERROR = "environment_error"


FAILURES = frozenset(
    {StopReason.CANCELLED, StopReason.SUSPENDED, StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR}
)
"""Stop reasons of rollouts that say nothing about the policy: not scored, and retried on resume."""


class ToolErrorKind(StrEnum):
    """What was wrong with a tool call."""

    PARSE = "parse"
    UNKNOWN_TOOL = "unknown_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    NOT_ALLOWED = "not_allowed"
    DENIED = "denied"
    TIMEOUT = "timeout"
    EXCEPTION = "exception"
    TOOL_REPORTED = "tool_reported"
    CANCELLED = "cancelled"
    SANDBOX = "sandbox"


class Untrainable(StrEnum):
    """Why a turn's sampled tokens stand in no sequence."""

    NO_TOKEN_IDS = "no_token_ids"
    NO_PROMPT_TOKEN_IDS = "no_prompt_token_ids"
    MISSING_TOKEN_IDS = "missing_token_ids"  # fewer than the server counted, or none beside a text
    PROMPT_MISMATCH = "prompt_mismatch"  # the server counted more tokens in the prompt than it gave ids
    NO_LOGPROBS = "no_logprobs"  # they were asked for, and there are none
    LENGTH_MISMATCH = "length_mismatch"  # of ids and logprobs
    UNUSABLE_LOGPROBS = "unusable_logprobs"  # one is null, not finite, positive or a stand-in such as -9999
    TRAINED_IN_PARENT = "trained_in_parent"  # a branch shares the turn with the trajectory that sampled it


class PromptFit(StrEnum):
    """How a turn's prompt follows the turn before it: the ids of that prompt and of what was sampled then.

    Only an extended turn goes on in the same sequence. The others begin a new one, because the model saw
    other ids than those that were sampled, even where they spell the same text.
    """

    EXTENDED = "extended"  # it begins with those very ids
    REALIGNED = "realigned"  # the same text in other ids, or another end of the reply
    FORKED = "forked"  # another text


class FitReason(StrEnum):
    """Where a prompt that does not extend the turn before parts from it."""

    OTHER_SPLIT = "other_split"  # realigned: the same text, split into other tokens
    OTHER_END = "other_end"  # realigned: all sampled ids but the last, then something else
    HISTORY_CHANGED = "history_changed"  # forked: something before the last reply is not as it was
    REPLY_REWRITTEN = "reply_rewritten"  # forked: the last reply is not as it was sampled
    RERENDERED = "rerendered"  # forked: the client was told to render the conversation again


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model wrote."""

    id: str  # unique within the trajectory
    name: str
    arguments: str  # the raw text, never re-serialised; may be no JSON at all


class ToolResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model was told about one call."""

    call_id: str
    name: str
    content: str
    ok: bool
    duration: float = 0.0  # seconds that the tool ran
    queued: float = 0.0  # seconds that it waited for a free worker
    truncated_from: int | None = None  # characters before it was cut; None when it was not
    approval: str | None = None
    """"allowed" by a rule or default, "approved" as it was or "edited" by whom the policy asked, "denied".
    None: there was no policy, or the call did not get that far."""
    edited_arguments: str | None = None  # JSON that it was run with instead of the model's own


class ToolError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that failed, for whatever reason."""

    turn: int  # 1-based
    tool_name: str  # "" when the text named none
    arguments: str  # as the model wrote them
    kind: ToolErrorKind
    error: str  # what happened, for people
    tool_result: str  # what the model was told; "" when the rollout ended with the reply


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts as the server reported them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None  # of the prompt; None when the server does not say


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failed try of a model call; of a call with many, several in a row that failed alike."""

    error: str  # the error's type, such as "ServerOverloaded"
    message: str
    status: int | None = None  # HTTP status; None when there was no reply
    duration: float = 0.0  # seconds, of all ``times`` together
    times: int = 1


class VersionSpan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which weights sampled the tokens ``start`` (included) to ``end`` (not included) of a turn."""

    version: str
    start: int
    end: int
    until: str | None = None  # set: somewhere within, the weights became these; nobody knows where


THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""The fields of messages that hold a thought as plain text."""


class ServerFields(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a server added to its own message, to be sent back to it with the message; to the letter."""

    message: dict[str, Any] = {}  # beside its text and calls; ``content`` where its parts are not all text
    thoughts: list[str] = []  # fields that hold the turn's `reasoning`, by the server's names for them
    calls: list[dict[str, Any]] = []  # one per call that the server parsed, in order; empty: none has any


class DroppedToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sampled token that stands in no sequence."""

    token_id: int
    logprob: float | None = None


class TurnTiming(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seconds, from the moment the loop asked for the turn."""

    queued: float = 0.0  # before the kept attempt was sent
    first_token: float | None = None  # None when the reply was not streamed
    total: float = 0.0  # until the reply was complete
    tools: float = 0.0  # from then until the last tool result


class Turn(msgspec.Struct, omit_defaults=True):
    """One model call that was kept, and the tool results that it led to.

    The whole prompt of a turn is the first ``prompt_shared`` ids of (previous turn's whole prompt +
    previous turn's ``token_ids``), then ``prompt_token_ids``: a trajectory's size stays linear in its
    length. `rollway.sequences.whole_prompts` puts them together.
    """

    index: int  # 0-based
    prompt_shared: int = 0
    prompt_token_ids: list[int] | None = None  # None when the server gave none
    token_ids: list[int] | None = None  # as sampled, end-of-turn token included
    logprobs: list[float] | None = None  # one per token id, natural log, at sampling
    reasoning: str | None = None
    content: str | None = None  # without reasoning and calls where these were parsed out
    text: str | None = None  # `content` as it was written, calls included; None where no history needs it
    tool_calls: list[ToolCall] = []
    parsed_by: str = "server"  # "server" or the name of the parser that read the calls
    finish_reason: str = ""  # the server's word
    reply_id: str = ""  # the server's own id of the reply; "" where it gives none
    server_fields: ServerFields | None = None  # goes back to `server` with the turn's message
    usage: Usage = Usage()
    server: str = ""  # base URL that answered
    weight_version: str | None = None  # as the reply named it; the last one where there are several
    weight_versions: list[VersionSpan] = []  # over all of token_ids where versions are known, else empty
    resumes: int = 0  # times that the server aborted the generation and it went on from what it had
    dropped_stop: DroppedToken | None = None
    """The stop token that ended the reply, taken off token_ids and logprobs because it opens another message
    than the one that followed. None: nothing was taken off."""
    prompt_fit: PromptFit | None = None  # None for a first turn, and where ids are missing
    prompt_fit_reason: FitReason | None = None  # None when it extends
    attempts: list[Attempt] = []  # failed tries before the kept one
    timing: TurnTiming = TurnTiming()
    tool_results: list[ToolResult] = []  # in the order of tool_calls
    untrainable: Untrainable | None = None  # None: the sampled tokens stand in exactly one sequence


class TokenSequence(msgspec.Struct, omit_defaults=True):
    """What a trainer reads. All lists have one length.

    Tokens that the policy did not sample have mask 0 and logprob 0.0.
    """

    token_ids: list[int]
    loss_mask: list[int]  # 1: sampled by the policy
    turn_index: list[int]  # the turn that sampled the token, or in whose prompt it first stood
    logprobs: list[float] | None = None  # None when a turn in it has none
    weight_versions: list[str | None] | None = None
    """Per token; None when no turn named one. The entry of a token whose version is uncertain is None."""


class Parent(msgspec.Struct, frozen=True):
    """Where a branch or a child rollout began."""

    trajectory_id: str
    turn: int


class ErrorRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault that ended a rollout or kept it from being scored."""

    kind: str  # the exception's type, such as "ServerUnreachable"
    message: str
    where: str = ""  # "model", "environment", "reward:<name>"
    traceback: str | None = None  # for faults in the user's own code
    attempts: list[Attempt] = []  # every try of the model call that failed for good


class Cut(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a clock of the limits cut in."""

    where: str  # what was cut: "model", "tools", or the hook's name
    seconds: float  # that it had taken by then
    clock: str  # "timeout" (wall seconds) or "working_timeout"
    tokens: int | None = None  # that the reply had by then; None: not known, since it was not streamed


class ModelCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model call that became no turn."""

    turn: int  # the turn that it was for, from 0
    outcome: str  # "overflow", "deadline", "cancelled", "error" or "rejected"
    purpose: str = "turn"
    attempts: list[Attempt] = []  # every try that failed
    seconds: float = 0.0
    request_id: str = ""
    server: str = ""


class TrajectoryTiming(msgspec.Struct, frozen=True, omit_defaults=True):
    """``started`` in Unix seconds, the others in seconds; of all sittings together."""

    started: float = 0.0
    total: float = 0.0
    model: float = 0.0  # waiting for the model
    tools: float = 0.0  # waiting for tools
    working: float = 0.0  # asking the model and running tools, without what was only waited for
    sittings: int = 1  # calls of `AgentLoop.run` that it took


class ToolState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rollout's tools had for themselves when it ended, for whoever goes on with it."""

    notes: dict[str, Any] = {}  # by name, as plain values
    random: str | None = None  # where the random numbers were, in base64; None: none were drawn
    lost: list[str] = []  # notes that cannot be written as JSON, or are too large


class Trajectory(msgspec.Struct, omit_defaults=True):
    """One rollout, whole or partial."""

    id: str
    messages: list[Message]
    schema_version: int = SCHEMA_VERSION
    environment: str = ""
    task_id: str = ""
    sample_index: int = 0
    group_id: str | None = None
    model: str = ""
    seed: int | None = None
    turns: list[Turn] = []
    sequences: list[TokenSequence] = []
    tool_errors: list[ToolError] = []
    rewards: dict[str, float] = {}  # by reward function, before weights; a function that raised is absent
    reward: float | None = None  # the weighted sum; None when not scored
    advantage: float | None = None
    metrics: dict[str, float] = {}
    stop_reason: StopReason | None = None  # None only while the rollout runs
    error: ErrorRecord | None = None
    parent: Parent | None = None
    timing: TrajectoryTiming = TrajectoryTiming()
    waits: dict[
        str, float
    ] = {}  # seconds by `rollway.clock.WaitKind`; they overlap, so their sum says nothing
    cut: Cut | None = None  # None: no clock cut in
    calls: list[ModelCall] = []  # those that became no turn
    worker: str = ""  # the worker that ran it, as in the run's log
    node: str = ""  # the machine's name
    metadata: dict[str, Any] = {}
    tool_state: ToolState | None = None  # None: its tools kept nothing for themselves
    sampling: dict[str, Any] | None = None
    """What its tokens were drawn with: ``defaults``, and each field that shapes the distribution with the
    value that was sent. With ``defaults`` at "server", an absent field was the server's own choice. None:
    not on record, or not the same in all sittings."""

    @property
    def answer(self) -> str | None:
        """What the model answered; ``None`` where it did not get that far.

        Of a completed rollout it is the text of the closing message; of one that `submit` ended, what was
        submitted. A rollout that anything else ended (a limit, a fault, the environment, another tool) has
        none, whatever its last message says.
        """
        if self.stop_reason is StopReason.COMPLETED:
            said = next((one for one in reversed(self.messages) if one.get("role") == "assistant"), None)
            return None if said is None else _text(said.get("content"))
        if self.stop_reason is StopReason.TOOL_STOPPED and self.turns:
            return submission(self.turns[-1])
        return None


SUBMIT = "submit"
"""The name of the tool by which a model hands in its answer."""


def submission(turn: Turn) -> str | None:
    """What a turn handed in by an accepted call of `submit`: its ``answer``, or else its only argument."""
    accepted = {result.call_id: result for result in turn.tool_results if result.ok and result.name == SUBMIT}
    for call in reversed(turn.tool_calls):
        if call.id not in accepted:
            continue
        try:
            given = msgspec.json.decode(accepted[call.id].edited_arguments or call.arguments)
        except msgspec.DecodeError:
            continue
        only = next(iter(given.values())) if isinstance(given, dict) and len(given) == 1 else None
        answer = given.get("answer", only) if isinstance(given, dict) else None
        if answer is not None:
            return answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
    return None


def _text(content: Any) -> str | None:
    """The text of a message's content, its parts joined; ``None`` where it has none."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        said = [text for text in texts if isinstance(text, str)]
        return "".join(said) if said else None
    return content if isinstance(content, str) else None


def _as_plain(value: Any) -> Any:
    """A value that the encoder does not know, by the rules of `rollway.plain_values`."""
    if isinstance(value, list | tuple | set | frozenset):  # known as values, so this is a key
        raise TypeError(f"a {type(value).__name__} cannot be a key")
    made, lost = plain(value)
    if lost:
        raise TypeError(lost[0])
    return made


_ENCODER = msgspec.json.Encoder(enc_hook=_as_plain)
_DECODER = msgspec.json.Decoder(Trajectory)


def encode_trajectory(trajectory: Trajectory) -> bytes:
    """One line of JSON without the newline, fields at their default left out.

    ``schema_version`` is always written.

    Raises:
        TypeError: `metadata` or a message holds something that `rollway.plain_values` makes nothing of.
    """
    return b'{"schema_version":%d,' % trajectory.schema_version + _without_version(trajectory)


def _without_version(trajectory: Trajectory) -> bytes:
    if trajectory.schema_version == SCHEMA_VERSION:
        return _ENCODER.encode(trajectory)[1:]
    raise TypeError(
        f"trajectory {trajectory.id!r} has schema version {trajectory.schema_version}; "
        f"this version writes {SCHEMA_VERSION}"
    )


def decode_trajectory(line: bytes | str) -> Trajectory:
    """Read back what `encode_trajectory` wrote.

    Raises:
        msgspec.DecodeError: the line is no whole JSON object (a torn last line, say).
        msgspec.ValidationError: it is one, but no trajectory of this schema.
    """
    trajectory = _DECODER.decode(line)
    if trajectory.schema_version != SCHEMA_VERSION:
        raise msgspec.ValidationError(
            f"trajectory {trajectory.id!r} has schema version {trajectory.schema_version}; "
            f"this version reads {SCHEMA_VERSION}"
        )
    return trajectory
