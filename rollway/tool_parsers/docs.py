"""The page about formats, generated from their declarations, so that it always matches the parsers.

Generate it with ``python -m rollway.tool_parsers.docs docs/formats.md``.
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

`parse(text, tools=None, *, lenient=False)` never raises an exception, and its work is linear in the length of
the text. It returns `content` (all text outside calls), `tool_calls` (with the arguments as the model wrote
them, if the format is JSON) and `errors`: blocks that look like calls but are not. Those blocks stay in the
content unchanged. `render(calls, content=None)` is the inverse. On the command line:
`rollway parse --format NAME`.

- Valid calls are kept, whatever else is in the text.
- A call inside closed reasoning is not a call. A call ends reasoning that was never closed.
- A truncated call is not a call, even if its JSON could be completed. Only a closing tag may be missing.
- Single quotes, trailing commas, Python literals and bare keys are errors. With `lenient=True` they are
  accepted, and the call is marked as repaired. A key that one object has twice is always `invalid_json`.
- With `tools`, a whole JSON call of an offered tool between other tags, or at the end of the text, is
  `malformed`, and the model gets the right form (Qwen2.5-Coder writes `<tools>`). It does not run: the reward
  is for the policy's own format. One that is quoted in a sentence is text. The same holds for the rest of a
  call whose special tokens a server removed (`get_weather[ARGS]{...}`).
- The bars of DeepSeek's and Step-3's marks may be doubled or ASCII, and DSML sections may have each other's
  names. If such marks hold no readable call, that is `malformed`.

| kind of error | |
|---|---|
| `invalid_json` | the block is not valid JSON |
| `unclosed` | the block is truncated |
| `missing_name` | the block names no tool |
| `invalid_arguments` | the arguments are not an object, or cannot be read |
| `malformed` | the block has no readable structure |

## Tool calls
'''

_REASONING = """\
## Reasoning

`split_reasoning(text, name, prefilled=None)` returns `(reasoning, content)`. `prefilled` tells whether the
prompt opened the reasoning; `None` (the default) uses the format's default.
"""


def formats_page() -> str:
    """The whole page, in Markdown."""
    parts = [_TOOL_CALLS]
    for entry in list_formats():
        names = ", ".join(f"`{name}`" for name in (entry.name, *entry.aliases))
        limits = f"\nLimits of `render`: {entry.cannot_say}\n" if entry.cannot_say else ""
        parts.append(f"### {names}\n\n{entry.models}.\n{limits}\n{_fenced(entry.example)}")
    parts.append(_REASONING)
    for thought in list_reasoning_formats():
        names = ", ".join(f"`{name}`" for name in (thought.name, *thought.aliases))
        habit = " The prompt opens the reasoning." if thought.prefilled else ""
        example = thought.join("The user greets me.", "Hello!")
        parts.append(f"### {names}\n\n{thought.models}.{habit}\n\n{_fenced(example)}")
    return "\n".join(parts)


def _fenced(text: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}text\n{text.strip()}\n{fence}\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(formats_page(), "utf-8")
