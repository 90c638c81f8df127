"""What a reasoning format is: a name, the pieces a template writes around a thought, and a way to split.

`split` holds for every format: it never raises, it is linear in the text, and it changes no character of
what it keeps. `join` puts the pieces back.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

Split = tuple[str | None, str | None]
"""(reasoning, content). None: there is no such part. "": the part is there, and empty."""


class ReasoningFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How one family of models writes a thought before its answer."""

    name: str  # as vLLM's reasoning parsers are called
    models: str  # who writes it, in words
    opening: str  # what stands before a thought
    closing: str  # what stands between a thought and the answer
    ending: str = ""  # what stands after the answer
    aliases: tuple[str, ...] = ()
    prefilled: bool = False  # the format's habit: whether its chat template writes `opening` into the prompt
    special_marks: bool = (
        False  # its tags are special tokens, which servers leave out of the text unless asked
    )
    split: Callable[[str, bool | None], Split]  # (text, prefilled) -> (reasoning, content)

    def join(self, reasoning: str | None, content: str | None, *, prefilled: bool | None = None) -> str:
        """The text that a model would have written; `split` takes it apart again.

        Exact as long as neither part holds a tag of the format. `prefilled` as in `split_reasoning`: where
        the prompt holds the opening, the text does not.
        """
        if reasoning is None:
            return content or ""
        opened = self.prefilled if prefilled is None else prefilled
        thought = reasoning if opened else self.opening + reasoning
        return thought if content is None else thought + self.closing + content + self.ending
