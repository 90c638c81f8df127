"""A model folder's tokenizer as token mode needs it: ids of new text, text of sampled ids.

Special tokens are never added, only read where the text spells them. Text is never the source of ids that
were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollway.inference.model_folder import load_tokenizer, stop_token_ids


class FolderTokenizer:
    """``tokenizer.json`` of a folder.

    Attributes:
        stop_ids: the ids at which servers end a reply.
        special_ids: the ids that stand for themselves: text is split at them before anything else.

    Raises:
        UserError: the folder has no tokenizer, or it cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self._inner = load_tokenizer(folder)
        self.stop_ids = stop_token_ids(folder, self._inner)
        added = self._inner.get_added_tokens_decoder()
        self.special_ids = frozenset(token for token, entry in added.items() if entry.special)
        self._fences = sorted(self.stop_ids & self.special_ids) or sorted(self.special_ids)

    def encode(self, text: str) -> list[int]:
        """The ids of a whole prompt."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_after(self, text: str, token: int | None = None) -> list[int]:
        """The ids of ``text`` where it stands behind ``token`` (None: somewhere in a prompt).

        Some tokenizers read the beginning of a text otherwise than the same letters further on.
        """
        fence = token if token in self.special_ids else next(iter(self._fences), None)
        if fence is None:
            return self.encode(text)
        ids = self.encode(self.text_of(fence) + text)
        return ids[1:] if ids[:1] == [fence] else self.encode(text)

    def id_of(self, text: str) -> int | None:
        """The one token that is spelled so; None where there is none."""
        token: int | None = self._inner.token_to_id(text)
        return token

    def text_of(self, token: int) -> str:
        """One token as text by itself, a special one as it is spelled."""
        return self.decode([token])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens as they are spelled; bytes that are no UTF-8 become U+FFFD."""
        return str(self._inner.decode(list(ids), skip_special_tokens=False))

    def decode_after(self, ids: Sequence[int], before: Sequence[int]) -> str:
        """The text of ``ids`` where they stand behind ``before``.

        Some tokenizers drop the space at the beginning of whatever they are given.
        """
        head = list(before[-1:])
        begun, whole = self.decode(head), self.decode([*head, *ids])
        return whole[len(begun) :] if whole.startswith(begun) else self.decode(ids)

    def reply_text(self, ids: Sequence[int], before: Sequence[int], stops: frozenset[int]) -> str:
        """A sampled reply as text, without the token that ended it. All others are kept, special or not:
        the tags of calls and thoughts are special tokens in some vocabularies.
        """
        ended = bool(ids) and ids[-1] in stops
        return self.decode_after(ids[:-1] if ended else ids, before)
