"""Whether a reply has the token data that was asked for, and what happens when it has not.

Nothing is padded or invented. By default a gap is told once per client in the log and stays in the record
(absent lists are ``None``; lists of different lengths are kept as they came, and the turn is marked as not
trainable). A trainer makes it an error instead.
"""

from __future__ import annotations

import logging

from rollway.inference.errors import InvalidReply
from rollway.inference.protocol import Completion
from rollway.inference.retry import TryFailed

_log = logging.getLogger(__name__)


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

    def check(self, completion: Completion) -> None:
        """
        Raises:
            TryFailed: with `InvalidReply`, when token data is required and this reply has a gap.
        """
        gap = self._gap(completion)
        if gap is None:
            return
        message = f"{completion.server} answered {gap}"
        if self._required:
            raise TryFailed(InvalidReply(f"{message}; without it no training data can be made"), retry=False)
        if not self._told:
            self._told = True
            _log.warning("%s; such turns cannot be trained on (said once)", message)

    def _gap(self, completion: Completion) -> str | None:
        ids, logprobs = completion.token_ids, completion.logprobs
        counted = completion.usage.completion_tokens
        if self._token_ids and ids is None and logprobs and len(logprobs) < counted:
            return (
                f"with the ids of {len(logprobs)} of the {counted} tokens that it sampled, as llama.cpp does "
                "where a character is several tokens or a stop string ends a reply (token mode has them all)"
            )
        if self._token_ids and ids is None:
            return "without token_ids, though return_token_ids was asked for"
        if self._token_ids and completion.prompt_token_ids is None:
            return "without prompt_token_ids, though return_token_ids was asked for"
        if self._logprobs and logprobs is None and ids != []:
            return "without logprobs, though they were asked for"
        if ids is not None and logprobs is not None and len(ids) != len(logprobs):
            return f"with {len(ids)} token ids but {len(logprobs)} logprobs"
        return None
