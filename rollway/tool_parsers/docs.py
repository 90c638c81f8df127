"""The page about formats, made from their declarations, so that it cannot differ from what the parsers do.

Write it again with ``python -m rollway.tool_parsers.docs docs/formats.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rollway.tool_parsers.reasoning import list_reasoning_formats
from rollway.tool_parsers.registry import list_formats

_TOOL_CALLS = '''\
# Formats

```python
from rollway.tool_parsers import get_parser, split_reasoning

text = """<think>Two and two.</think>I will add.
<tool_call>{"name": "add", "arguments": {"a": 2, "b": 2}}</tool_call>"""
reasoning, content = split_reasoning(text, "qwen3")
parsed = get_parser("hermes").parse(content or "")
assert reasoning == "Two and two."
assert parsed.content == "I will add.\\n"
assert parsed.tool_calls[0].name == "add"
```

`parse(text, tools=None, *, lenient=False)` never raises, and its work grows linearly with the text. It gives
`content` (all text outside calls), `tool_calls` (argument text as the model wrote it where the format is
JSON) and `errors`: blocks that were meant as calls and are none. Those stay in the content, to the letter.
`render(calls, content=None)` is the way back. On the command line: `rollway parse --format NAME`.

- Good calls are kept whatever stands beside them.
- A call inside a finished thought is not a call. A thought that is never closed ends with the call.
- A call that is cut off is not a call, even if its JSON could be completed. Only a closing tag may be
  missing.
- Single quotes, trailing commas, Python's literals and bare keys are errors, unless `lenient=True`, which
  marks the call as repaired. No leniency takes a key that one object gives twice: that is `invalid_json`.
- With `tools`, a whole JSON call of an offered tool that stands between other tags, or at the end of the
  text, is `malformed`, and the model is shown the right form (Qwen2.5-Coder writes `<tools>`). It is not
  run: what the policy is rewarded for must be its format. One that is quoted in a sentence is text. The same
  holds for what is left of a call whose special tokens a server took off (`get_weather[ARGS]{...}`).
- The bars of DeepSeek's and Step-3's marks may be doubled or ASCII, and DSML sections may have each other's
  names. Where such marks hold no call that can be read, that is `malformed`.

| kind of error | |
|---|---|
| `invalid_json` | the block is no JSON |
| `unclosed` | it is cut off |
| `missing_name` | it names no tool |
| `invalid_arguments` | its arguments are no object, or cannot be read |
| `malformed` | it has no structure to read |

## Tool calls
'''

_REASONING = """\
## Reasoning

`split_reasoning(text, name, prefilled=None)` gives `(reasoning, content)`. `prefilled` says whether the
prompt had already opened the thought; `None` takes the format's habit.
"""


def formats_page() -> str:
    """The whole page, in Markdown."""
    parts = [_TOOL_CALLS]
    for entry in list_formats():
        names = ", ".join(f"`{name}`" for name in (entry.name, *entry.aliases))
        limits = f"\nCannot be written: {entry.cannot_say}\n" if entry.cannot_say else ""
        parts.append(f"### {names}\n\n{entry.models}.\n{limits}\n{_fenced(entry.example)}")
    parts.append(_REASONING)
    for thought in list_reasoning_formats():
        names = ", ".join(f"`{name}`" for name in (thought.name, *thought.aliases))
        habit = " The prompt opens the thought." if thought.prefilled else ""
        example = thought.join("The user greets me.", "Hello!")
        parts.append(f"### {names}\n\n{thought.models}.{habit}\n\n{_fenced(example)}")
    return "\n".join(parts)


def _fenced(text: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}text\n{text.strip()}\n{fence}\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(formats_page(), "utf-8")
