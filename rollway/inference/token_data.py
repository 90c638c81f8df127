"""Whether a reply has the token data that was asked for, and what happens when it has not.

Nothing is padded or invented. By default a gap is told once per client in the log and stays in the record
(absent lists are ``None``; lists of different lengths are kept as they came, and the turn is marked as not
trainable by a name of its own). A trainer makes it an error instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, cast

import msgspec

from rollway.inference.errors import InvalidReply
from rollway.inference.protocol import Completion
from rollway.inference.tries import TryFailed
from rollway.trajectory import Untrainable

ROUNDING = 1e-4
"""A logprob may lie so far above 0: servers compute in single precision. It is kept as it came."""

IMPOSSIBLE = -1_000.0
"""At and below it a logprob is no token's that was sampled, but stands for -infinity (vLLM writes -9999)."""

Logprob = Annotated[float, msgspec.Meta(gt=IMPOSSIBLE, le=ROUNDING)]
"""One that may be trained on. Decoding as this type tells the others at no cost."""

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

_log = logging.getLogger(__name__)


def all_there(logprobs: Sequence[float | None]) -> tuple[list[float] | None, Untrainable | None]:
    """The logprobs, and what is wrong with them. With a null among them there are none: nobody knows which
    number would stand there."""
    if not logprobs:
        return [], None
    values = cast(list[float], logprobs)
    try:
        low, high = min(values), max(values)
    except TypeError:
        return None, Untrainable.UNUSABLE_LOGPROBS
    if values[0] is None:  # alone, it is compared with nothing
        return None, Untrainable.UNUSABLE_LOGPROBS
    usable = low > IMPOSSIBLE and high <= ROUNDING
    return values, None if usable else Untrainable.UNUSABLE_LOGPROBS


class TokenDataGuard:
    """Looks at each reply of one client.

    Args:
        token_ids: the ids of the prompt and of the sampled tokens were asked for.
        logprobs: the logprobs of the sampled tokens were asked for.
        required: a reply with a gap is an error.
    """

    def __init__(self, *, token_ids: bool, logprobs: bool, required: bool) -> None:
        self._token_ids = token_ids
        self._logprobs = logprobs
        self._required = required
        self._told = False
        self._told_thought = False

    def check(self, completion: Completion) -> None:
        """
        Raises:
            TryFailed: with `InvalidReply`, when token data is required and this reply has a gap.
        """
        self._notice_thought(completion)
        gap, name = self._gap(completion)
        if gap is None:
            return
        completion.untrainable = name
        message = f"{completion.server} answered {gap}"
        if self._required:
            raise TryFailed(InvalidReply(f"{message}; training data requires it"), retry=False)
        if not self._told:
            self._told = True
            _log.warning("%s; such turns cannot be trained on (logged once)", message)

    def _notice_thought(self, completion: Completion) -> None:
        """A thought with nothing behind it is the sign of a reasoning parser that is not the model's."""
        if self._told_thought or completion.content or completion.tool_calls or not completion.reasoning:
            return
        if completion.finish_reason == "stop":
            self._told_thought = True
            _log.warning(
                "%s sent a reply that stands wholly in its reasoning field; if many do, its reasoning parser "
                "is hardly the model's (said once)",
                completion.server,
            )

    def _gap(self, completion: Completion) -> tuple[str | None, Untrainable | None]:
        """What is wrong, in words and by its name in the record."""
        ids, logprobs, prompt = completion.token_ids, completion.logprobs, completion.prompt_token_ids
        usage = completion.usage
        if self._token_ids and ids is None and completion.untrainable is Untrainable.MISSING_TOKEN_IDS:
            some = (
                f"with the ids of {len(logprobs or ())} of the {usage.completion_tokens} sampled tokens, as "
                "llama.cpp does if a character is several tokens or a stop string ends a reply (token mode "
                "gets them all)"
            )
            return some, completion.untrainable
        if self._token_ids and ids is None:
            return "without token_ids, although return_token_ids was set", Untrainable.NO_TOKEN_IDS
        if self._token_ids and prompt is None:
            asked = "without prompt_token_ids, although return_token_ids was set"
            return asked, Untrainable.NO_PROMPT_TOKEN_IDS
        if ids is not None and usage.completion_tokens > len(ids):
            counted = f"with {len(ids)} token ids, but counted {usage.completion_tokens} sampled tokens"
            return counted, Untrainable.MISSING_TOKEN_IDS
        if ids == [] and (completion.content or completion.reasoning or completion.tool_calls):
            return "without token ids beside a text", Untrainable.MISSING_TOKEN_IDS
        if prompt is not None and usage.prompt_tokens > len(prompt):
            counted = f"with {len(prompt)} ids of the prompt, but counted {usage.prompt_tokens}"
            return counted, Untrainable.PROMPT_MISMATCH
        if completion.untrainable is Untrainable.UNUSABLE_LOGPROBS:
            unusable = "with a logprob that is null, not finite, positive, or stands for -infinity"
            return unusable, completion.untrainable
        if self._logprobs and logprobs is None and ids != []:
            return "without the requested logprobs", Untrainable.NO_LOGPROBS
        if ids is not None and logprobs is not None and len(ids) != len(logprobs):
            return f"with {len(ids)} token ids but {len(logprobs)} logprobs", Untrainable.LENGTH_MISMATCH
        return None, None
