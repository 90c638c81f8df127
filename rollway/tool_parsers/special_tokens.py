"""The tokens with which models end a turn, where a server was asked to leave special tokens in the text.

vLLM and SGLang take the last one off by themselves, others leave it; it is no word of the model's.
"""

from __future__ import annotations

import re

_TURN_ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|EOT|>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "</s>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "<|assistant_end|>",
    "<seed:eos>",
    "</longcat_s>",
    "[EOS]",
)
_ENDING = re.compile(rf"\s{{0,4}}(?:{'|'.join(map(re.escape, _TURN_ENDS))})\s{{0,4}}\Z")
_LONGEST = 40  # characters


def without_turn_end(text: str) -> str:
    """A reply without the token that ended its turn, which some servers write twice."""
    for _ in range(2):
        tail = max(0, len(text) - _LONGEST)
        ending = _ENDING.search(text, tail)
        if ending is None:
            break
        text = text[: ending.start()]
    return text
