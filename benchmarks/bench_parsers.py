"""Parsers: import time, texts a second beside vLLM's, and how work grows with hostile texts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rollway.tool_parsers import get_parser, list_parsers
from rollway.trajectory import ToolCall

ROOT = Path(__file__).parents[1]
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
SIZES = (10_000, 100_000, 1_000_000)  # characters
LIMIT = 0.5  # seconds for the largest

FAMILIES = {
    "JSON behind a tag": ("hermes", "jamba", "granite4"),
    "name, then JSON": ("deepseek_v31", "kimi_k2", "mistral"),
    "JSON without a tag": ("llama3_json", "xlam"),
    "Python": ("pythonic", "olmo3"),
    "XML": ("qwen3_coder", "glm45", "minimax_m2", "deepseek_v32"),
    "braces": ("gemma4",),
}

WHOLE_TEXT = ("llama3_json", "pythonic", "xlam")
"""Formats in which vLLM reads calls only where nothing else stands in the text."""

ARGUMENTS = [
    {"city": "Oslo", "unit": "celsius", "days": 3},
    {"city": "Nairobi", "unit": "kelvin", "days": 7},
    {"city": "São Paulo", "unit": "celsius", "days": 1},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string"},
                    "days": {"type": "integer"},
                },
            },
        },
    }
]

IMPORT = """
import msgspec, time
wall, cpu = time.perf_counter(), time.process_time()
import rollway.tool_parsers.registry
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def main(argv: list[str]) -> None:
    print_import_time()
    print_rates()
    print_growth()


def print_import_time() -> None:
    """The registry alone, in a fresh process that has msgspec already; the least of five."""
    runs = [
        tuple(map(float, subprocess.check_output([sys.executable, "-c", IMPORT], text=True).split()))
        for _ in range(5)
    ]
    wall, cpu = (min(column) * 1000 for column in zip(*runs, strict=True))
    print(f"import of the registry: {wall:.0f} ms, {cpu:.0f} ms of CPU\n")


def print_rates() -> None:
    """Three calls in each text."""
    cases = {
        name: {"text": three_calls(name), "tools": TOOLS} for names in FAMILIES.values() for name in names
    }
    python = VLLM_PYTHON if VLLM_PYTHON.exists() else Path(sys.executable)
    done = subprocess.run(
        [python, str(ROOT / "benchmarks" / "parser_rates.py")],
        input=json.dumps(cases),
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    rates = json.loads(done.stdout.strip().splitlines()[-1])
    print("texts a second, three calls each      ours       vLLM   ratio")
    for family, names in FAMILIES.items():
        for name in names:
            print(f"{family:20}{name:14}{_rates(rates[name])}")
    print()


def _rates(rate: dict[str, Any]) -> str:
    if "vllm" not in rate:
        return f"{rate['ours']:10,.0f}          -   {rate.get('why', '')}"
    return f"{rate['ours']:10,.0f} {rate['vllm']:10,.0f} {rate['ours'] / rate['vllm']:6.1f}x"


def three_calls(name: str) -> str:
    calls = [ToolCall("", "get_weather", json.dumps(arguments)) for arguments in ARGUMENTS]
    return get_parser(name).render(calls, None if name in WHOLE_TEXT else "I will look that up.")


def print_growth() -> None:
    """CPU milliseconds for 10 KB, 100 KB and 1 MB of what parsers fear."""
    print("CPU milliseconds for 10 KB / 100 KB / 1 MB of")
    kinds = tuple(hostile_units("hermes"))
    print(f"{'':16}" + "".join(f"{kind:>20}" for kind in kinds))
    worst = 0.0
    for name in list_parsers():
        cells = []
        for unit in hostile_units(name).values():
            times = [cpu_seconds(name, unit * (size // len(unit))) for size in SIZES]
            worst = max(worst, times[-1])
            cells.append(
                "/".join(
                    f"{seconds * 1000:.1f}" if seconds < 0.01 else f"{seconds * 1000:.0f}"
                    for seconds in times
                )
            )
        print(f"{name:16}" + "".join(f"{cell:>20}" for cell in cells))
    verdict = "under" if worst < LIMIT else "OVER"
    print(f"the slowest megabyte took {worst * 1000:.0f} ms, {verdict} {LIMIT * 1000:.0f} ms")


def hostile_units(name: str) -> dict[str, str]:
    example = get_parser(name).format.example
    tag = re.match(r"<[^<>]+>|\[[A-Z_]+\]|\w+", example)
    return {
        "opening tags": tag[0] if tag else example[0],
        "beginnings": example.split("get_weather")[0] or "[",
        "braces": "{",
        "quotes": '"',
        "spaces": " ",
    }


def cpu_seconds(name: str, text: str) -> float:
    parser = get_parser(name)
    begin = time.process_time()
    parser.parse(text)
    return time.process_time() - begin
