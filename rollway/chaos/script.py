"""The policy of a chaos run: what it says is a pure function of the task, the request's seed and the turn.

So the conversation, the tokens and the rewards of every rollout are known before it runs, and whatever a
fault did to one of them shows. Standard library alone: the server, the environment and the judge share it.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rollway.chaos.lots import chosen, lot

RIGHT = 0.6
"""Share of the rollouts whose last message holds the right answer."""

MOST_TURNS = 3
WEIGHTS = {"right": 0.7, "used": 0.2, "brief": 0.1}
"""The rewards' weights, by name. In binary, none of them is exact."""

TOOLS = ("look_up", "wait", "fetch", "compute")
"""Tools that answer, by how they run: on a thread, slowly on a thread, on the event loop, in a process."""

KEEP = "keep"  # writes into the rollout's sandbox
REFUSE = "refuse"  # always raises
HANG = "hang"  # never returns: it is cut at its timeout

_END = 1
_ROLES = {"system": 2, "user": 3, "assistant": 4, "tool": 5}
_FIRST_WORD = 16
_VOCABULARY = 50_000
_TASK = re.compile(r"Task (\S+):")


class Call(NamedTuple):
    """A tool call as the model wrote it."""

    id: str
    name: str
    key: str

    @property
    def arguments(self) -> str:
        return json.dumps({"key": self.key})

    @property
    def answer(self) -> str | None:
        """What the tool answers; None where it fails, as this policy's own mistake."""
        return None if self.name in (REFUSE, HANG) else answer_of(self.name, self.key)


class Reply(NamedTuple):
    """One turn. Without calls it is the last."""

    text: str
    calls: tuple[Call, ...]

    def message(self) -> dict[str, Any]:
        """As an assistant message in OpenAI's format."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.calls
            ]
        return message


@dataclass(frozen=True)
class Script:
    """The policy of one seed. ``failing`` is the share of calls that go to a tool which fails; ``sandboxes``
    that of tasks with a sandbox."""

    seed: int
    failing: float = 0.0
    sandboxes: float = 0.0

    def reply(self, task: str, request_seed: int, turn: int) -> Reply:
        """What the policy says in a turn, counted from 0."""
        words = (task, request_seed, turn)
        mark = f"{zlib.crc32(repr((self.seed, *words)).encode()):08x}"
        last = turn + 1 == MOST_TURNS or (turn > 0 and lot(self.seed, "last", *words) < 0.5)
        if last:
            right = lot(self.seed, "right", *words) < RIGHT
            number = task_answer(task) + (0 if right else 1 + int(lot(self.seed, "off", *words) * 9))
            return Reply(f"All of {mark} is known. The answer is {number}.", ())
        count = 1 + (lot(self.seed, "calls", *words) < 0.4)
        return Reply(f"Let me see what {mark} says.", tuple(self._call(mark, n, words) for n in range(count)))

    def _call(self, mark: str, number: int, words: tuple[object, ...]) -> Call:
        task = str(words[0])
        name = chosen(TOOLS, self.seed, "tool", number, *words)
        if number == 0 and self.has_sandbox(task):
            name = KEEP
        elif lot(self.seed, "failing", number, *words) < self.failing:
            # A call that hangs takes all of its timeout, so there are few of them.
            name = HANG if lot(self.seed, "hangs", number, *words) < 0.1 else REFUSE
        return Call(f"call-{mark}-{number}", name, f"{mark}.{number}")

    def has_sandbox(self, task: str) -> bool:
        """Have the rollouts of a task a sandbox?"""
        return lot(self.seed, "sandbox", task) < self.sandboxes

    def conversation(self, task: str, seed_of: Callable[[int], int]) -> list[Reply]:
        """All turns of a rollout; ``seed_of`` gives the seed that a turn's request carries."""
        return list(self._turns(task, seed_of))

    def _turns(self, task: str, seed_of: Callable[[int], int]) -> Iterator[Reply]:
        for turn in range(MOST_TURNS):
            reply = self.reply(task, seed_of(turn), turn)
            yield reply
            if not reply.calls:
                return


def question(task: str) -> str:
    """What the rollouts of a task are asked."""
    return f"Task {task}: find the number of this task, with the tools. Say: The answer is N."


def task_of(text: str) -> str | None:
    """The task whose `question` a text is; None: it is none."""
    found = _TASK.match(text)
    return found[1] if found else None


def task_answer(task: str) -> int:
    """The number that is right."""
    return zlib.crc32(f"task {task}".encode()) % 1000


def answer_of(tool: str, key: str) -> str:
    """What a tool answers to a key."""
    return f"{key} holds {zlib.crc32(f'{tool} {key}'.encode()) % 1000}"


def rewards_of(answer_is_right: bool, results_ok: Sequence[bool], turns: int) -> dict[str, float]:
    """Rewards by name, before weights, from what a record shows."""
    return {
        "right": float(answer_is_right),
        "used": sum(results_ok) / len(results_ok) if results_ok else 0.0,
        "brief": 1 / turns if turns else 0.0,
    }


def expected_rewards(task: str, turns: Sequence[Reply]) -> dict[str, float]:
    """Rewards by name of a conversation as `Script.conversation` gives it."""
    ok = [call.answer is not None for turn in turns for call in turn.calls]
    return rewards_of(is_right(task, turns[-1].text), ok, len(turns))


def is_right(task: str, text: str) -> bool:
    """Does a last message hold the task's number?"""
    return text.endswith(f"The answer is {task_answer(task)}.")


def message_ids(message: dict[str, Any]) -> list[int]:
    """The tokens of a message behind that of its role: a word is a token, and the last ends the message."""
    text = str(message.get("content") or "")
    for call in message.get("tool_calls") or ():
        function = call["function"]
        text += f" {call['id']} {function['name']} {function['arguments']}"
    return [*(_FIRST_WORD + zlib.crc32(word.encode()) % _VOCABULARY for word in text.split(" ")), _END]


def prompt_ids(messages: Sequence[dict[str, Any]], tools: object) -> list[int]:
    """The tokens of a prompt. Those of a longer conversation begin with those of a shorter and its reply."""
    ids = [_FIRST_WORD + zlib.crc32(json.dumps(tools, sort_keys=True).encode()) % _VOCABULARY]
    for message in messages:
        ids += [_ROLES[message["role"]], *message_ids(message)]
    return [*ids, _ROLES["assistant"]]


def logprob_of(token: int) -> float:
    """The logprob that a token is sampled at."""
    return -(token % 997 + 1) / 331
