"""How many test tasks a policy solves, by plain batched sampling in torch.

A quick measure for training. The measure that counts is ``rollway eval calculator`` through a server.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template

from rollway.embedded.training.rendering import load_template, render
from rollway.environments.calculator.environment import CalculatorEnvironment, read_answer
from rollway.environments.calculator.expressions import SYMBOLS, apply
from rollway.trajectory import Message

MAX_TURNS = 6
MAX_TOKENS = 128
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


def solved(
    model: Any, tokenizer: Any, template: Template, tasks: Sequence[Any], *, temperature: float, seed: int
) -> list[bool]:
    """For each task, whether one rollout ends with the right answer. ``tokenizer`` is transformers'."""
    import torch

    environment = CalculatorEnvironment()
    tools = [tool.definition() for tool in environment.tools]
    torch.manual_seed(seed)
    histories = [list(environment.prompt(task)) for task in tasks]
    running = list(range(len(tasks)))
    right = [False] * len(tasks)
    for _ in range(MAX_TURNS):
        if not running:
            break
        prompts = [render(template, histories[index], tools, add_generation_prompt=True) for index in running]
        texts = _sample(model, tokenizer, prompts, temperature)
        for index, text in zip(list(running), texts, strict=True):
            histories[index].append({"role": "assistant", "content": text})
            replies = _run_calls(text)
            histories[index] += replies
            if not replies:
                running.remove(index)
                right[index] = read_answer(text.rpartition("</think>")[2]) == tasks[index]["answer"]
    return right


def _sample(model: Any, tokenizer: Any, prompts: list[str], temperature: float) -> list[str]:
    import torch

    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, **how)
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=False)
    return [text.partition("<|im_end|>")[0] for text in texts]


def _run_calls(text: str) -> list[Message]:
    """What the model is told: a tool message for each call, or that it must write a call again."""
    if "<tool_call>" not in text:
        return []
    try:
        calls = [json.loads(block) for block in _CALL.findall(text)]
    except ValueError:
        calls = []
    if not calls:
        return [{"role": "user", "content": "Your reply held a tool call that could not be read."}]
    return [{"role": "tool", "content": _run_call(call)} for call in calls]


def _run_call(call: Any) -> str:
    match call:
        case {"name": str(name), "arguments": {"a": int(a), "b": int(b)}} if name in SYMBOLS:
            return str(apply(name, a, b))
    return "Error: the call could not be run."


def main() -> None:
    """Print the success rates of a policy folder on the test split."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description="Success of a policy folder on calculator test tasks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=300, help="the first so many tasks of the split")
    parser.add_argument("--split", default="test", choices=["train", "test"])
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import torch

    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    template = load_template(options.folder / "chat_template.jinja")
    tasks = CalculatorEnvironment().tasks(options.split)[: options.tasks]
    for temperature in options.temperature:
        right = solved(model, tokenizer, template, tasks, temperature=temperature, seed=options.seed)
        by_operations = {
            count: [ok for ok, task in zip(right, tasks, strict=True) if task["operations"] == count]
            for count in (1, 2, 3)
        }
        parts = ", ".join(f"{count}: {sum(of) / max(1, len(of)):.1%}" for count, of in by_operations.items())
        print(f"temperature {temperature}: {sum(right) / len(right):.1%} of {len(right)} tasks ({parts})")


if __name__ == "__main__":
    main()
