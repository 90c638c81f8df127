"""Train the calculator policy from scratch on the CPU.

The number of steps is fixed, not the time, and all randomness follows from ``--seed``; a checkpoint is
written after each step count that ``--keep`` names.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import rollway
from rollway.embedded.training.batches import IGNORED, Batch, draw_batches, text_of
from rollway.embedded.training.conversations import draw_conversations
from rollway.embedded.training.model import build_model, save_policy
from rollway.embedded.training.optimizer import build_optimizer, schedule, update
from rollway.embedded.training.tokenizer import train_tokenizer
from rollway.environments.calculator.environment import CalculatorEnvironment
from rollway.inference.chat_template import ChatTemplate

SHIPPED = Path(rollway.__file__).parent / "embedded" / "policies" / "calculator"
"""Where the chat template comes from; it is written by hand."""

TOKENIZER_TEXTS = 4000
"""Conversations from which the tokenizer's merges are learnt."""

REPORT_EVERY = 50
"""Steps between two lines of progress."""


def train(*, out: Path, steps: int, keep: list[int], seed: int, tokens: int, threads: int) -> None:
    """Train, and write ``out`` at the end and ``out``-STEP after each step in ``keep``."""
    import torch

    torch.set_num_threads(threads)
    template = ChatTemplate(SHIPPED)
    tools = CalculatorEnvironment.tools
    corpus = islice(draw_conversations(seed, tools), TOKENIZER_TEXTS)
    tokenizer = train_tokenizer(text_of(template, conversation) for conversation in corpus)
    model = build_model(tokenizer, seed)
    source = (SHIPPED / "chat_template.jinja").read_text(encoding="utf-8")
    optimizer = build_optimizer(model)
    batches = draw_batches(seed + 1, template, tokenizer, tools, tokens=tokens)
    meter = _Meter(steps)
    for step, batch in enumerate(islice(batches, steps)):
        loss = _loss(model, *_tensors(batch))
        loss.backward()
        update(optimizer, schedule(step, steps))
        meter.add(step + 1, batch, loss)
        if step + 1 in keep:
            save_policy(model, tokenizer, source, Path(f"{out}-{step + 1}"))
    save_policy(model, tokenizer, source, out)


def _loss(model: Any, ids: Any, labels: Any) -> Any:
    """Mean cross-entropy over the tokens that the policy would have sampled."""
    import torch

    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


def _tensors(batch: Batch) -> tuple[Any, Any]:
    import torch

    return torch.tensor(batch.ids), torch.tensor(batch.labels)


class _Meter:
    """Prints one line every `REPORT_EVERY` steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.started = time.monotonic()
        self.tokens = 0

    def add(self, step: int, batch: Batch, loss: Any) -> None:
        self.tokens += len(batch.ids) * len(batch.ids[0])
        if step % REPORT_EVERY and step != self.steps:
            return
        seconds = time.monotonic() - self.started
        speed = self.tokens / seconds
        print(
            f"step {step}/{self.steps}  {seconds:.0f} s  {speed:.0f} tokens/s  loss {loss.item():.4f}",
            flush=True,
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rollway.embedded.training.train",
        description="Train the calculator policy from scratch, as the shipped one was.",
        epilog="example: python -m rollway.embedded.training.train --out trained/calculator --keep 425",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=1000, help="default: 1000")
    parser.add_argument(
        "--keep", type=int, nargs="*", default=[], metavar="STEP", help="also write OUT-STEP after this step"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--tokens", type=int, default=4096, help="limit on tokens per batch (default: 4096)")
    parser.add_argument("--threads", type=int, default=1, help="default: 1; other values change rounding")
    options = parser.parse_args()
    if fault := _fault(options):
        parser.error(fault)
    train(**vars(options))


def _fault(options: argparse.Namespace) -> str:
    """What keeps this training from beginning; empty when nothing does."""
    for name in ("steps", "tokens", "threads"):
        if getattr(options, name) < 1:
            return f"--{name} must be at least 1, got {getattr(options, name)}"
    beyond = [step for step in options.keep if not 1 <= step <= options.steps]
    if beyond:
        return f"--keep {beyond[0]} is not between 1 and the {options.steps} steps of --steps"
    missing = [name for name in ("torch", "transformers", "safetensors") if find_spec(name) is None]
    if missing:
        return f"training needs {', '.join(missing)}: pip install 'rollway[train]'"
    return ""


if __name__ == "__main__":
    main()
