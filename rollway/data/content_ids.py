"""Ids of rows that have none: a digest of what the row says.

The invariant: a row has the same id wherever it stands and in whichever format it is stored, as far as the
formats say the same: names are sorted, what is null counts as absent, and a number or a truth value at the
top of a row counts as its text, which is all that CSV has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

DIGEST_BYTES = 8

_ENCODER = msgspec.json.Encoder(enc_hook=str, order="deterministic")


class ContentIds:
    """Gives the rows of one pass their ids, in order.

    The second row of the same content has ``-2`` behind its id, the third ``-3``: rows that say the same may
    change places. Keeps about a hundred bytes a row.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}

    def of(self, row: Mapping[str, Any]) -> str:
        """The id of the next row.

        Raises:
            TypeError: it holds something that has no order, such as names that are no texts.
        """
        digest = content_digest(row)
        if digest not in self._seen:
            self._seen.add(digest)
            return digest.hex()
        count = self._repeats[digest] = self._repeats.get(digest, 1) + 1
        return f"{digest.hex()}-{count}"


def content_digest(row: Mapping[str, Any]) -> bytes:
    """What stands for the content of a row."""
    said = {name: _as_text(value) for name, value in row.items() if value is not None}
    return hashlib.blake2b(_ENCODER.encode(said), digest_size=DIGEST_BYTES).digest()


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value  # msgspec has no larger
