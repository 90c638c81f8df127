"""Conversations as batches of token ids, of about the same number of tokens each.

A label is a token's own id where the policy would have sampled it (a turn's text and its end token), and
``IGNORED`` everywhere else: on prompts, on tool results, on the newline after a turn and on padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

import msgspec
from tokenizers import Tokenizer

from rollway.embedded.training.conversations import Conversation, draw_conversations
from rollway.embedded.training.tokenizer import END, END_OF_TEXT, START, token_id
from rollway.inference.chat_template import ChatTemplate
from rollway.tools import Tool

IGNORED = -100

_POOL = 768
_PAD_TO = 16


class Batch(msgspec.Struct, frozen=True):
    """Rows of one length, padded on the right."""

    ids: list[list[int]]
    labels: list[list[int]]


def draw_batches(
    seed: int, template: ChatTemplate, tokenizer: Tokenizer, tools: Sequence[Tool], *, tokens: int
) -> Iterator[Batch]:
    """Batches of at most ``tokens`` tokens without end, conversations of like length together."""
    rng = Random(seed)
    conversations = draw_conversations(seed, tools)
    while True:
        texts = [text_of(template, conversation) for conversation in islice(conversations, _POOL)]
        rows = sorted((encoding.ids for encoding in tokenizer.encode_batch(texts)), key=len)
        batches = list(_cut(rows, tokens))
        batches.sort(key=lambda _: rng.random())
        for batch in batches:
            yield _pad(batch, tokenizer)


def text_of(template: ChatTemplate, conversation: Conversation) -> str:
    """A whole conversation as the policy reads and writes it."""
    return template.render(conversation.messages, conversation.tools, add_generation_prompt=False)


def _cut(rows: list[list[int]], tokens: int) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    for row in rows:
        if (len(batch) + 1) * _padded(len(row)) > tokens and batch:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _padded(length: int) -> int:
    return -(-length // _PAD_TO) * _PAD_TO


def _pad(rows: list[list[int]], tokenizer: Tokenizer) -> Batch:
    padding = token_id(tokenizer, END_OF_TEXT)
    width = _padded(max(map(len, rows)))
    return Batch(
        [row + [padding] * (width - len(row)) for row in rows],
        [labels(row, tokenizer) + [IGNORED] * (width - len(row)) for row in rows],
    )


def labels(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The ids that the policy would have sampled, `IGNORED` elsewhere."""
    header = tokenizer.encode(f"{START}assistant\n").ids
    end = token_id(tokenizer, END)
    marked = [IGNORED] * len(ids)
    inside = False
    for place, token in enumerate(ids):
        if inside:
            marked[place] = token
            inside = token != end
        else:
            inside = list(ids[max(0, place + 1 - len(header)) : place + 1]) == header
    return marked
