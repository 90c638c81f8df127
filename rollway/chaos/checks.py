"""What a run must be, whatever happened to it: one pure function for each promise, over the lines on disk.

The invariant: nothing of the engine is asked. What is expected comes from the script; what is found, from
plain JSON. Each function gives every way in which its promise is broken, and none where it holds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from rollway.chaos.reading import Record
from rollway.chaos.script import WEIGHTS, Reply, expected_rewards, logprob_of, message_ids, question

Key = tuple[str, int]
"""A rollout: its task and its sample."""

NEAR = 1e-12
"""How far a weighted sum may be from the exact one: what a change of the order of adding can do."""


class Violation(NamedTuple):
    """A promise that was broken."""

    promise: str  # which, in the words of `PROMISES`
    detail: str  # where and how
    key: Key | None = None  # of the rollout; None: it is about the run


class Expected(NamedTuple):
    """What must be on record."""

    turns: Mapping[Key, Sequence[Reply]]  # the conversation of every rollout that was asked for
    seeds: Mapping[Key, int]
    keys: Mapping[tuple[str, int], Key]  # of the requests, by their task and seed


Found = tuple[Key | None, str]
"""What is wrong with a rollout, or with the run."""

Check = Callable[[Sequence[Record], Expected], Iterator[Found]]


def key_of(record: Record) -> Key:
    """The rollout that a line is of."""
    return str(record.get("task_id")), int(record.get("sample_index", 0))


def keys_exact(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """Every rollout that was asked for is there, and no other."""
    found = {key_of(record) for record in records}
    for key in sorted(expected.turns.keys() - found):
        yield key, "it is missing"
    for key in sorted(found - expected.turns.keys()):
        yield key, "it was not asked for"


def nothing_doubled(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """No rollout is there twice, and no two lines have one id."""
    for key, count in Counter(map(key_of, records)).items():
        if count > 1:
            yield key, f"it is there {count} times"
    for name, count in Counter(record.get("id") for record in records).items():
        if count > 1:
            yield None, f"the id {name} is there {count} times"


def all_scored(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """Every rollout came to its end and has its score."""
    for record in records:
        if record.get("stop_reason") != "completed" or record.get("reward") is None or record.get("error"):
            error = record.get("error") or {}
            why = (
                f"{error.get('where')}: {error.get('kind')}: {error.get('message')}" if error else "no error"
            )
            yield key_of(record), f"it ended as {record.get('stop_reason')}, {why[:200]}"


def seeds_kept(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """A rollout has the seed that belongs to it, in whichever sitting it ran."""
    for record in records:
        seed = expected.seeds.get(key_of(record))
        if seed is not None and record.get("seed") != seed:
            yield key_of(record), f"it has the seed {record.get('seed')} and not {seed}"


def rewards_exact(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """Each reward is what the conversation is worth, to the last bit, and the whole is their sum."""
    for record, turns in _both(records, expected):
        wanted, found = expected_rewards(key_of(record)[0], turns), record.get("rewards", {})
        if found != wanted:
            yield key_of(record), f"it has the rewards {found} and not {wanted}"
        total = math.fsum(WEIGHTS[name] * value for name, value in wanted.items())
        if record.get("reward") is not None and abs(record["reward"] - total) > NEAR:
            yield key_of(record), f"it has the reward {record['reward']} and not {total}"


def said_once(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """The turns are those that the policy sampled, in their order: tokens, logprobs, text and calls."""
    for record, turns in _both(records, expected):
        kept = record.get("turns", [])
        if len(kept) != len(turns):
            yield key_of(record), f"it has {len(kept)} turns and not {len(turns)}"
            continue
        for number, (turn, reply) in enumerate(zip(kept, turns, strict=True)):
            if difference := _difference(turn, reply):
                yield key_of(record), f"turn {number}: {difference}"


def tokens_once(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """Every sampled token stands in exactly one sequence with mask 1, with its own logprob."""
    for record, turns in _both(records, expected):
        trained: defaultdict[int, list[tuple[int, float | None]]] = defaultdict(list)
        sequences = record.get("sequences", [])
        if len(sequences) != 1:
            yield (
                key_of(record),
                f"it has {len(sequences)} sequences and not 1: its prompts do not extend each other",
            )
        for sequence in sequences:
            ids, mask, turn_of = sequence["token_ids"], sequence["loss_mask"], sequence["turn_index"]
            logprobs = sequence.get("logprobs") or [None] * len(ids)
            if not len(ids) == len(mask) == len(turn_of) == len(logprobs):
                yield key_of(record), "it has a sequence with lists of different lengths"
                continue
            for token, trains, turn, logprob in zip(ids, mask, turn_of, logprobs, strict=True):
                if trains:
                    trained[turn].append((token, logprob))
        for number, reply in enumerate(turns):
            sampled = message_ids(reply.message())
            if trained.pop(number, []) != [(token, logprob_of(token)) for token in sampled]:
                yield key_of(record), f"the tokens of turn {number} do not stand once in its sequences"
        if trained:
            yield key_of(record), f"its sequences train turns that it does not have: {sorted(trained)}"


def calls_answered(records: Sequence[Record], expected: Expected) -> Iterator[Found]:
    """Each call has one answer, in its place, and it is the tool's own; nothing else stands between."""
    for record, turns in _both(records, expected):
        wanted = [{"role": "user", "content": question(key_of(record)[0])}, *_conversation(turns)]
        found = record.get("messages", [])
        for place, (message, want) in enumerate(zip(found, wanted, strict=False)):
            if complaint := _unlike(message, want):
                yield key_of(record), f"message {place}: {complaint}"
                break
        else:
            if len(found) != len(wanted):
                yield key_of(record), f"it has {len(found)} messages and not {len(wanted)}"


PROMISES: dict[str, Check] = {
    "the set of keys is exact": keys_exact,
    "nothing is doubled": nothing_doubled,
    "all is scored": all_scored,
    "each rollout has its seed": seeds_kept,
    "rewards are exact": rewards_exact,
    "turns are as sampled": said_once,
    "each token is trained once": tokens_once,
    "each call is answered once": calls_answered,
}
"""What is promised of the lines on disk, and who looks."""

WHOLE_LINES = "every line is whole"
ENDINGS = "each sitting ends as it should"
FINISHED = "the run is finished"
NOTHING_LEFT = "nothing is left running"
SAME_SCORE = "the score is that of the run without faults"
EXPECTED_FAILURES = "each failure is of an expected kind"
RIGHT_HISTORY = "the server is sent the conversation as it was"
SUMMED_UP = "the summary counts every rollout"


def record_violations(records: Sequence[Record], expected: Expected) -> list[Violation]:
    """Every way in which the lines break a promise."""
    return [
        Violation(name, told, key)
        for name, check in PROMISES.items()
        for key, told in check(records, expected)
    ]


def score_violations(
    summary: Record, records: Sequence[Record], reference: Record, expected: Expected
) -> list[Violation]:
    """Whether the numbers of two summaries are the same to the last bit, and those of the records.

    Args:
        summary: of the run with faults.
        records: its lines.
        reference: the summary of the run without; empty where there was none.
    """
    told = []
    asked = len(expected.turns)
    counts = {name: summary.get(name) for name in ("asked", "scored", "failed", "missing")}
    if counts != {"asked": asked, "scored": asked, "failed": 0, "missing": 0}:
        told.append(Violation(SUMMED_UP, f"of {asked} rollouts it says {counts}"))
    mean = (summary.get("mean_reward") or {}).get("mean")
    exact = math.fsum(
        WEIGHTS[name] * value
        for (task, _), turns in expected.turns.items()
        for name, value in expected_rewards(task, turns).items()
    )
    if mean is None or abs(mean - exact / asked) > NEAR:
        told.append(Violation(SAME_SCORE, f"it is {mean}, and the policy's own is {exact / asked}"))
    for name in ("mean_reward", "rewards", "pass_rates") if reference else ():
        if summary.get(name) != reference.get(name):
            told.append(
                Violation(
                    SAME_SCORE, f"{name} is {summary.get(name)} and was {reference.get(name)} without faults"
                )
            )
    return told


def same_rewards(records: Sequence[Record], reference: Sequence[Record]) -> Iterator[Violation]:
    """Whether each rollout has the very reward that it has in the run without faults."""
    before = {key_of(record): (record.get("reward"), record.get("rewards")) for record in reference}
    for record in records:
        now, then = (record.get("reward"), record.get("rewards")), before.get(key_of(record))
        if now != then:
            yield Violation(SAME_SCORE, f"it has {now}, and {then} without faults", key_of(record))


def failure_kinds(failures: Sequence[Record]) -> Counter[str]:
    """Attempts that came to nothing, by the kind of their error."""
    return Counter(_failure(record) for record in failures)


def unexpected_failures(failures: Sequence[Record], kinds: Collection[str]) -> list[Violation]:
    """Attempts that failed with something that no fault of the run explains."""
    return [
        Violation(EXPECTED_FAILURES, f"{count} attempts failed with {kind}")
        for kind, count in sorted(failure_kinds(failures).items())
        if kind not in kinds
    ]


def _failure(record: Record) -> str:
    error = record.get("error")
    if isinstance(error, dict):
        return str(error.get("kind"))
    return str(record.get("kind") or record.get("error_kind") or record.get("stop_reason") or "unknown")


def _both(records: Sequence[Record], expected: Expected) -> Iterator[tuple[Record, Sequence[Reply]]]:
    for record in records:
        turns = expected.turns.get(key_of(record))
        if turns is not None:
            yield record, turns


def _difference(turn: Record, reply: Reply) -> str:
    sampled = message_ids(reply.message())
    if turn.get("token_ids") != sampled:
        return "its tokens are others than those that were sampled"
    if turn.get("logprobs") != [logprob_of(token) for token in sampled]:
        return "its logprobs are others than those that were sampled at"
    if (turn.get("content") or "") != reply.text:
        return f"its text is {turn.get('content')!r} and not {reply.text!r}"
    calls = [(call["id"], call["name"], call["arguments"]) for call in turn.get("tool_calls", [])]
    wanted = [(call.id, call.name, call.arguments) for call in reply.calls]
    return "" if calls == wanted else f"its calls are {calls} and not {wanted}"


def _conversation(turns: Sequence[Reply]) -> Iterator[Record]:
    for reply in turns:
        yield reply.message()
        for call in reply.calls:
            yield {"role": "tool", "tool_call_id": call.id, "content": call.answer}


def _unlike(message: Record, wanted: Record) -> str:
    """How a message differs. What a tool that fails tells the model is the engine's to word."""
    for name, value in wanted.items():
        if value is None and name == "content":
            if not str(message.get("content")).startswith("Error"):
                return f"a failed call is answered with {message.get('content')!r:.200}"
        elif message.get(name) != value:
            return f"its {name} is {message.get(name)!r:.200} and not {value!r:.200}"
    return ""
