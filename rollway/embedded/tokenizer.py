"""The folder's tokenizer: text to ids, ids to bytes, and text as it grows token by token.

Text is made from bytes, so that a character whose bytes are split over two tokens comes out whole, and so
that a reply read in pieces equals the reply read at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rollway.errors import UserError
from rollway.inference.model_folder import end_tokens, load_tokenizer


class Tokenizer:
    """A byte-level BPE ``tokenizer.json``.

    Raises:
        UserError: there is no such file, or it is not byte-level.
    """

    def __init__(self, folder: Path) -> None:
        self._inner = load_tokenizer(folder)
        if not _is_byte_level(self._inner):
            raise UserError(
                f"{folder / 'tokenizer.json'} is not byte-level; the embedded server runs byte-level BPE only"
            )
        added = self._inner.get_added_tokens_decoder()
        self.special_ids = frozenset(token for token, entry in added.items() if entry.special)
        self.size = self._inner.get_vocab_size(with_added_tokens=True)
        self.token_bytes = _token_bytes(self._inner, {token: entry.content for token, entry in added.items()})
        self._texts = [data.decode("utf-8", errors="replace") for data in self.token_bytes]
        self.eos_id, self.extra_stop_ids = self._read_ends(folder)

    def _read_ends(self, folder: Path) -> tuple[int | None, tuple[int, ...]]:
        """The end-of-turn token, and further tokens that end a reply, as vLLM reads them."""
        named, ids = end_tokens(folder)
        eos = self._inner.token_to_id(named) if named else None
        if eos is None and ids:
            eos = ids[0]
        return eos, tuple(token for token in ids if token != eos)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text; special tokens that it spells out are read as such."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 come out as U+FFFD."""
        skipped = self.special_ids if skip_special_tokens else frozenset()
        return b"".join(self.bytes_of(token) for token in ids if token not in skipped).decode(
            "utf-8", errors="replace"
        )

    def bytes_of(self, token: int) -> bytes:
        """The bytes of one token; none for an id of the model that the tokenizer does not use."""
        return self.token_bytes[token] if token < len(self.token_bytes) else b""

    def token_text(self, token: int) -> str:
        """One token as text by itself."""
        return self._texts[token] if token < len(self._texts) else ""

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's own spelling of tokens."""
        return [self._inner.id_to_token(token) or "" for token in ids]


class GrowingText:
    """The text of one reply as its tokens arrive, with the first stop string found in it.

    What might become part of a stop string is held back from `take` until it is clear that it does not.
    """

    __slots__ = ("_decoder", "_include_stop", "_min_tokens", "_seen", "_skipped", "_stop", "_taken", "text")

    def __init__(
        self,
        *,
        skipped: frozenset[int],
        stop: Sequence[str] = (),
        include_stop: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._skipped = skipped
        self._stop = stop
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._seen = 0  # tokens
        self._taken = 0  # characters that `take` gave out
        self.text = ""

    def add(self, token: int, data: bytes) -> str | None:
        """Append a token. Returns the stop string that it completed; the text then ends where it must."""
        self._seen += 1
        if token in self._skipped:
            return None
        before = len(self.text)
        self.text += self._decoder.decode(data)
        if not self._stop or self._seen <= self._min_tokens or len(self.text) == before:
            return None
        return self._find_stop(before)

    def _find_stop(self, before: int) -> str | None:
        best: tuple[int, int, str] | None = None
        for stop in self._stop:
            begin = self.text.find(stop, max(0, before - len(stop) + 1))
            if begin >= 0 and (best is None or begin + len(stop) < best[0]):
                best = (begin + len(stop), begin, stop)
        if best is None:
            return None
        end, begin, stop = best
        self.text = self.text[: end if self._include_stop else begin]
        return stop

    def finish(self) -> None:
        """No token follows: bytes that wait for the rest of their character become U+FFFD."""
        self.text += self._decoder.decode(b"", final=True)

    def take(self, *, last: bool) -> str:
        """The text that was not taken yet; all of it when no token follows."""
        hold = 0 if last or self._include_stop or not self._stop else max(map(len, self._stop)) - 1
        end = max(self._taken, len(self.text) - hold)
        piece = self.text[self._taken : end]
        self._taken = end
        return piece


def _is_byte_level(inner: Any) -> bool:
    decoder = json.loads(inner.to_str()).get("decoder") or {}
    return bool(decoder.get("type") == "ByteLevel")


def _token_bytes(inner: Any, added: dict[int, str]) -> list[bytes]:
    back = {character: byte for byte, character in _byte_characters().items()}
    table = []
    for token in range(max(inner.get_vocab(with_added_tokens=True).values()) + 1):
        if token in added:
            table.append(added[token].encode())
        else:
            spelling = inner.id_to_token(token) or ""
            table.append(bytes(back[character] for character in spelling))
    return table


def _byte_characters() -> dict[int, str]:
    """The character with which byte-level BPE spells each byte (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}
