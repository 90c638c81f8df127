"""Whether a server's refusal means that a request does not fit the model's context, and what would fit.

What is structured (a type, a code, counts in fields) is read before words, and words by what they name and
not by whole sentences, so that the next server's wording is read as well. A refusal of ``max_tokens`` alone
is no overflow: the prompt is not to blame.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class Misfit(StrEnum):
    """What does not fit."""

    PROMPT = "prompt"  # the prompt leaves no room
    SUM = "sum"  # the prompt fits, with max_tokens on top it does not
    MAX_TOKENS = "max_tokens"  # more tokens are asked for than the context or the model can ever give


class Overflow(msgspec.Struct, frozen=True):
    """What a server said about lengths, in tokens; None is not said."""

    misfit: Misfit
    prompt: int | None = None
    context: int | None = None

    @property
    def left(self) -> int | None:
        """Tokens that fit behind the prompt; None: the server does not say."""
        if self.prompt is None or self.context is None:
            return None
        return self.context - self.prompt


_NAMED = re.compile(
    r"context.?(length|size|window|limit)?.?(exceeded|overflow|error)|exceeds?.?context|contextwindow"
    r"|(prompt|input|context).?(is.?)?too.?(long|large)|tokens?.?limit.?(reached|exceeded)|too.?many.?tokens"
    r"|(prompt|input).?(length)?.?exceeded",
    re.IGNORECASE,
)
"""Types and codes: context_length_exceeded, exceed_context_size_error, ContextWindowExceededError, ..."""

_NO_ROOM = re.compile(
    r"max_(?:completion_)?tokens must be at least 1, got (?:0|-\d+)\b"  # vLLM, the prompt fills the context
    r"|default_max_tokens \(-?\d+\) should be greater than 0"  # TensorRT-LLM, likewise
    r"|reduce the length of the (?:input |messages|prompt)"  # OpenAI and gateways to it
    r"|(?:input|prompt|context|conversation)\b[^.:;]{0,30} (?:is|are|was) too (?:long|large)"
    r"|prompt too long|too[ _]many[ _](?:input[ _]|prompt[ _])?tokens"
    r"|(?:prompt|输入|上下文).*超[长过出]"
    r"|maximum context length",
    re.IGNORECASE,
)
_LENGTHS = re.compile(
    r"context[ _-]?(?:length|size|window|limit)|\bn_ctx\b|tokens? window"
    r"|max(?:imum)?[ _](?:allowed |supported |model |context |input |prompt |sequence |total )*"
    r"(?:len(?:gth)?|size|context|(?:input|prompt|number of (?:input )?)[ _]?tokens?|sequence)"
    r"|max_\w*(?:len|context|position|input|prompt|num_tokens)\w*"
    r"|(?:input|prompt|sequence|request)['s]* (?:token )?(?:length|count|size)|range of input length"
    r"|tokens? (?:limit|count|capacity)|model(?:'s)? (?:capacity|limit)|(?:kv|key.value) cache"
    r"|`?inputs?`? (?:tokens|must have)|(?:input|prompt)[ _]tokens|number of (?:input )?tokens",
    re.IGNORECASE,
)
_EXCEEDS = re.compile(
    r"exceed|(?:long|larg|great|bigg|high)er than|more than|over(?:flow| the )|beyond|above|surpass"
    r"|too (?:long|large|many|big)|(?:less|fewer|smaller) than|<=|>|at most|not fit|should be \[|shorte[nr]"
    r"|reduce|but (?:the |your )?(?:request|prompt|input)",
    re.IGNORECASE,
)
_OTHER_LENGTHS = re.compile(
    r"characters|\bbytes\b|\b[KMG]i?B\b|\barray\b|a string|\bimages?\b|\baudio\b|\bvideos?\b|\bfiles?\b"
    r"|\blogprobs\b|\bstop\b|physical batch",
    re.IGNORECASE,
)
_RATES = re.compile(
    r"per[ -](?:second|minute|hour|day|month)|rate.?limit|quota|\b[TR]P[MD]\b|too many requests",
    re.IGNORECASE,
)
_OF_PROMPT = re.compile(
    r"prompt|\binputs?\b|messages?\b|conversation|your request|requested token|total", re.IGNORECASE
)
_BUDGET = re.compile(
    r"max_?(?:new_|completion_|output_)?tokens|(?:output|completion) tokens|(?:in|for) the completion",
    re.IGNORECASE,
)

_NUMBER = r"(\d[\d,_]*)(?:\.0+)?(?![\d.]*\d)"
_ADDED = re.compile(rf"{_NUMBER} ?\+ ?{_NUMBER} ?> ?{_NUMBER}")  # "4090 + 64 > 4096"
_SUBTRACTED = re.compile(rf"{_NUMBER} ?> ?{_NUMBER} ?- ?{_NUMBER}")  # "300 > 2048 - 1900"
_CONTEXTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"context[ _](?:length|size|window|limit)(?: is| of|:|=)? ?(?:only )?\(?{_NUMBER}",
        rf"max(?:imum)?[ _](?:allowed |supported |model |context |input |prompt |sequence |total )*"
        rf"(?:len(?:gth)?|size)[ =:(]*(?:is |of )?\(?{_NUMBER}",
        rf"\bn_ctx[ =:(]*{_NUMBER}",
        rf"max_\w*(?:len|context|position|input|prompt|num_tokens)\w*[ =:(]*{_NUMBER}",
        rf"{_NUMBER} (?:tokens? )?maximum|{_NUMBER}[ -]tokens? (?:limit|window|context)",
        rf"must (?:be|have) (?:<=|less than|at most) ?{_NUMBER}",
        rf"tokens allowed \(?{_NUMBER}|limit(?: of|:| is)? \(?{_NUMBER}|should be \[\d+, ?{_NUMBER}\]",
        rf"capacity(?: of|:)? {_NUMBER}|> ?{_NUMBER}",
    )
)
"""The surest first."""
_PROMPTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NUMBER} (?:tokens )?(?:in|from) the (?:input |messages|prompt)",
        rf"{_NUMBER} (?:`inputs`|inputs?|prompt) tokens|prompt[ _]tokens?[ =:(]+{_NUMBER}",
        rf"(?:prompt|input|request|messages?|conversation)['s]*(?: tokens?| sequence)?(?: length| count)?"
        rf"(?: is| has| of|:)? ?\(?(?:length )?{_NUMBER}(?= |\)|,|$)(?! characters)",
        rf"(?:contains|resulted in|given:?|requested:?|has) (?:at least )?{_NUMBER}(?: tokens|\))",
    )
)
_LOWER_BOUND = re.compile(rf"(?:contains|has) at least {_NUMBER} input tokens", re.IGNORECASE)
_REQUESTED = re.compile(rf"requested {_NUMBER} output tokens", re.IGNORECASE)
_LONG = 256  # tokens; smaller numbers are about something else


def find_overflow(
    message: str,
    *,
    named: tuple[str, ...] = (),
    prompt: int | None = None,
    context: int | None = None,
    asked: int | None = None,
    sent: int | None = None,
) -> Overflow | None:
    """What of a request a server finds too long; None: its refusal is about something else.

    Args:
        message: the server's words.
        named: its type and code, where these are words.
        prompt, context: tokens that it names in fields of their own.
        asked: ``max_tokens`` of the request; None: it had none, or that is not known.
        sent: ids of the prompt, where ids were sent.
    """
    if not _speaks_of_lengths(message, named, prompt, context):
        return None
    if asked is not None and asked < 1:
        return None  # "max_tokens must be at least 1" is then the caller's own mistake
    numbered = prompt is not None or context is not None
    said_prompt, said_context = _numbers(message)
    context = said_context if context is None else context
    prompt = said_prompt if prompt is None else prompt
    fits = prompt is None or context is None or prompt < context
    of_budget = _BUDGET.search(message) is not None
    if asked is not None and context is not None and asked >= context and fits and (prompt or of_budget):
        return Overflow(Misfit.MAX_TOKENS, prompt, context)
    if not numbered and prompt is None and of_budget and not _OF_PROMPT.search(message):
        return None if _NO_ROOM.search(message) is None else Overflow(Misfit.PROMPT, None, context)
    bound = _is_mere_bound(message)
    counted = sent if prompt is None or (bound and sent is not None) else prompt
    if counted is not None and context is not None and counted < context:
        return Overflow(Misfit.SUM, None if bound and sent is None else counted, context)
    return Overflow(Misfit.PROMPT, counted, context)


def _speaks_of_lengths(message: str, named: tuple[str, ...], prompt: int | None, context: int | None) -> bool:
    if any(_NAMED.search(word) for word in named):
        return True
    if prompt is not None and context is not None and prompt >= context:
        return True
    if _RATES.search(message):
        return False
    if _NO_ROOM.search(message):
        return True
    if _OTHER_LENGTHS.search(message) or not _EXCEEDS.search(message):
        return False
    return _LENGTHS.search(message) is not None or _counts_tokens(message)


def _counts_tokens(message: str) -> bool:
    """Whether words that nobody foresaw hold two lengths against each other, in tokens."""
    numbers = [_int(found) for found in re.findall(_NUMBER, message)]
    return "token" in message.lower() and sum(number >= _LONG for number in numbers) >= 2


def _numbers(message: str) -> tuple[int | None, int | None]:
    """The prompt's tokens and the context's, as far as the words give them."""
    added = _ADDED.search(message)
    if added:
        return _int(added[1]), _int(added[3])
    subtracted = _SUBTRACTED.search(message)
    if subtracted:
        return _int(subtracted[3]), _int(subtracted[2])
    return _first(_PROMPTS, message), _first(_CONTEXTS, message)


def _first(patterns: tuple[re.Pattern[str], ...], message: str) -> int | None:
    for pattern in patterns:
        found = pattern.search(message)
        if found is not None:
            return _int(next(group for group in found.groups() if group is not None))
    return None


def _int(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", ""))


def _is_mere_bound(message: str) -> bool:
    """vLLM stops counting where the sum is over: "at least" so many then says how much was asked for."""
    bound = _LOWER_BOUND.search(message)
    requested = _REQUESTED.search(message)
    context = _first(_CONTEXTS, message)
    if bound is None or requested is None or context is None:
        return False
    return _int(bound[1]) + _int(requested[1]) == context + 1
