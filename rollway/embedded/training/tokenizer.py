"""The policy's tokenizer: byte-level BPE with a small vocabulary.

Merges may span words, so that the constant parts of a conversation take few tokens. Digits, minuses and
newlines are tokens of their own, and so are the tags: what ends a message never merges with what follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 384

END_OF_TEXT, START, END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

_MARKERS = re.compile("|".join(map(re.escape, SPECIAL + TAGS)))


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn merges from rendered conversations. The same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9\-\n]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(TAGS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pieces = (piece for text in texts for piece in _MARKERS.split(text) if piece)
    tokenizer.train_from_iterator(pieces, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TAGS])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(
            f"the texts gave a vocabulary of {tokenizer.get_vocab_size()} tokens, not {VOCABULARY}: "
            f"train the tokenizer on more of them"
        )
    return tokenizer


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of a special token or a tag."""
    identity = tokenizer.token_to_id(text)
    if identity is None:
        raise KeyError(f"the tokenizer has no token {text!r}")
    return identity


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, context: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` as transformers reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": None,
        "eos_token": END,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
