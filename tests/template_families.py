"""Small model folders in the manner of well-known families: a template, a tokenizer made for it, no weights.

The templates are written for the tests. Each does what its family's own does where token mode can go wrong:
how a reply ends, what opens the next message, what is left out or moved once more messages follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MERGES = ["t o", "to m", "P a", "Pa n", "Pan tom", "a d", "ad d", "1 2"]
"""What the byte-level tokenizers join; "Pantom" is one token, and "Pan" and "tom" spell it as well."""


@dataclass(frozen=True)
class Family:
    """One family, and what token mode should make of it."""

    template: str
    special: tuple[str, ...]  # special tokens, the end of a reply first
    stops: tuple[str, ...]  # of these, the ones at which a server ends a reply
    call: str  # what the model writes to call add(2, 3), without the stop token
    call_stop: str
    junction: str  # what stands between the call's stop token and the next reply, the tool having said 5
    verdict: str
    tool_parser: str = "hermes"
    reasoning_parser: str | None = None
    merges: tuple[str, ...] = ()
    metaspace: bool = False  # SentencePiece's way with spaces, instead of bytes


def write_folder(family: Family, folder: Path) -> Path:
    """The family's model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _metaspace() if family.metaspace else _byte_level([*MERGES, *family.merges])
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in family.special]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(family.template, encoding="utf-8")
    ids = [tokenizer.token_to_id(stop) for stop in family.stops]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    settings = {"eos_token": family.special[0], "bos_token": "<s>"}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _byte_level(merges: list[str]) -> Tokenizer:
    vocabulary = {character: at for at, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for merge in merges:
        vocabulary.setdefault(merge.replace(" ", ""), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _metaspace() -> Tokenizer:
    letters = ["▁", "\n", *(chr(code) for code in range(33, 127))]
    vocabulary = {text: at for at, text in enumerate(["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))])}
    for letter in [*letters, "▁a", "▁I"]:
        vocabulary.setdefault(letter, len(vocabulary))
    bpe = models.BPE(
        vocabulary, [("▁", "a"), ("▁", "I")], unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


_HERMES_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'

_CHATML_TOOLS = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}"""

_CHATML_TOOL_RESULT = """\
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- else %}{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

_CHATML_CALLS = """\
{%- for call in message.tool_calls or [] %}
{%- if not loop.first or message.content %}{{ '\\n' }}{% endif -%}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}{{ '<|im_end|>\\n' }}"""

CHATML = Family(
    template=_CHATML_TOOLS
    + """
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|im_start|>assistant
{{ message.content }}"""
    + _CHATML_CALLS
    + _CHATML_TOOL_RESULT,
    special=("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
    stops=("<|im_end|>", "<|endoftext|>"),
    call=_HERMES_CALL,
    call_stop="<|im_end|>",
    junction="\n<|im_start|>user\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    verdict="extends",
)

MERGING = Family(
    template=CHATML.template,
    special=CHATML.special,
    stops=CHATML.stops,
    call=CHATML.call,
    call_stop=CHATML.call_stop,
    junction=CHATML.junction,
    verdict="merges",
    merges=("Ċ Ċ",),  # two line breaks are one token
)

QWEN3 = Family(
    template=_CHATML_TOOLS
    + """
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set content = message.content %}
{%- set thought = message.reasoning_content or '' %}
{%- if not thought and '</think>' in content %}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}<|im_start|>assistant
{% if loop.index0 > ns.last and (loop.last or thought) %}<think>
{{ thought.strip('\\n') }}
</think>

{{ content.lstrip('\\n') }}{% else %}{{ content }}{% endif %}"""
    + _CHATML_CALLS
    + _CHATML_TOOL_RESULT,
    special=CHATML.special,
    stops=CHATML.stops,
    call="<think>\nTwo and three.\n</think>\n\n" + _HERMES_CALL,
    call_stop="<|im_end|>",
    junction=CHATML.junction,
    verdict="strips_reasoning",
    reasoning_parser="qwen3",
)

LLAMA3 = Family(
    template="""\
<|begin_of_text|>
{%- if tools %}<|start_header_id|>system<|end_header_id|>

{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|eot_id|>
{%- endif %}
{%- for message in messages %}
{%- if message.tool_calls %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{%- set function = message.tool_calls[0].function %}<|start_header_id|>assistant<|end_header_id|>

{"name": "{{ function.name }}", "parameters": {{ function.arguments | tojson }}}<|eot_id|>
{%- elif message.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>

{{ message.content }}<|eot_id|>
{%- else %}<|start_header_id|>{{ message.role }}<|end_header_id|>

{{ message.content | trim }}<|eot_id|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    special=(
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
    ),
    stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    call='{"name": "add", "parameters": {"a": 2, "b": 3}}',
    call_stop="<|eom_id|>",  # the template writes <|eot_id|> there
    junction="<|start_header_id|>ipython<|end_header_id|>\n\n5<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    verdict="rewrites",
    tool_parser="llama3_json",
)

MISTRAL = Family(
    template="""\
{{- bos_token }}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and message == users[-1] %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
[INST] {{ message.content }}[/INST]
{%- elif message.tool_calls %}[TOOL_CALLS] [
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('ids of nine letters or digits') }}{% endif -%}
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}
{{- ', "id": "' ~ call.id ~ '"}' }}
{%- if not loop.last %}, {% endif %}{% endfor %}]</s>
{%- elif message.role == 'assistant' %} {{ message.content | trim }}</s>
{%- else %}[TOOL_RESULTS] {"content": {{ message.content }}
{{- ', "call_id": "' ~ message.tool_call_id ~ '"}[/TOOL_RESULTS]' }}
{%- endif %}
{%- endfor %}""",
    special=(
        "</s>",
        "<s>",
        "[INST]",
        "[/INST]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    ),
    stops=("</s>",),
    call='[TOOL_CALLS] [{"name": "add", "arguments": {"a": 2, "b": 3}}]',
    call_stop="</s>",
    junction='[TOOL_RESULTS] {"content": 5, "call_id": "CALL_ID"}[/TOOL_RESULTS]',
    verdict="rewrites",
    tool_parser="mistral",
    metaspace=True,
)

DEEPSEEK = Family(
    template="""\
<｜begin▁of▁sentence｜>
{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}
{%- set ns = namespace(tool=false) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.tool = false %}<｜User｜>{{ message.content }}
{%- elif message.tool_calls %}<｜Assistant｜>{{ message.content }}<｜tool▁calls▁begin｜>
{%- for call in message.tool_calls %}<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ call.function.name }}
```json
{{ call.function.arguments | tojson }}
```<｜tool▁call▁end｜>
{%- endfor %}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>
{%- elif message.role == 'tool' %}
{%- if not ns.tool %}<｜tool▁outputs▁begin｜>{% endif %}{% set ns.tool = true -%}
<｜tool▁output▁begin｜>{{ message.content }}<｜tool▁output▁end｜>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<｜tool▁outputs▁end｜>{% endif %}
{%- else %}
{%- if not ns.tool %}<｜Assistant｜>{% endif %}{% set ns.tool = false -%}
{{ message.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt and not ns.tool %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}""",
    special=(
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁outputs▁begin｜>",
        "<｜tool▁outputs▁end｜>",
        "<｜tool▁output▁begin｜>",
        "<｜tool▁output▁end｜>",
    ),
    stops=("<｜end▁of▁sentence｜>",),
    call="Two and three.\n</think>\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n"
    '```json\n{"a": 2, "b": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    call_stop="<｜end▁of▁sentence｜>",
    junction="<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>5<｜tool▁output▁end｜><｜tool▁outputs▁end｜>",
    verdict="strips_reasoning",
    tool_parser="deepseek_v3",
    reasoning_parser="deepseek_r1",
)

GLM = Family(
    template="""\
[gMASK]<sop>
{%- if tools %}<|system|>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'user' %}<|user|>
{{ message.content }}
{%- elif message.role == 'assistant' %}<|assistant|>
{%- set thought = message.reasoning_content if loop.index0 > ns.last and message.reasoning_content else '' %}
{{- '\\n<think>' ~ thought.strip() ~ '</think>' }}
{%- if message.content.strip() %}{{ '\\n' ~ message.content.strip() }}{% endif %}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>' ~ call.function.name }}
{%- for name, value in call.function.arguments.items() %}
{{- '\\n<arg_key>' ~ name ~ '</arg_key>\\n<arg_value>' ~ value ~ '</arg_value>' }}
{%- endfor %}
{{- '\\n</tool_call>' }}
{%- endfor %}
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|observation|>{% endif %}
{{- '\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}""",
    special=(
        "<|endoftext|>",
        "[gMASK]",
        "<sop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
    ),
    stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
    call="\n<think>Two and three.</think>\n<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>2</arg_value>\n"
    "<arg_key>b</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    call_stop="<|observation|>",  # it opens the tool's message
    junction="\n<tool_response>\n5\n</tool_response><|assistant|>",
    verdict="strips_reasoning",
    tool_parser="glm45",
    reasoning_parser="glm45",
)

HARMONY = Family(
    template="""\
{%- if tools %}<|start|>developer<|message|># Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|end|>
{%- endif %}
{%- set ns = namespace(call=none) %}
{%- for message in messages %}
{%- if message.tool_calls %}
{%- set ns.call = message.tool_calls[0].function %}
{%- if message.reasoning_content or message.content %}<|start|>assistant<|channel|>analysis<|message|>
{{- message.reasoning_content or message.content }}<|end|>{% endif -%}
<|start|>assistant to=functions.{{ ns.call.name }}<|channel|>commentary json<|message|>
{{- ns.call.arguments | tojson }}<|call|>
{%- elif message.role == 'tool' %}
{%- if ns.call is none %}{{ raise_exception('a result without a call') }}{% endif -%}
<|start|>functions.{{ ns.call.name }} to=assistant<|channel|>commentary<|message|>{{ message.content }}<|end|>
{%- elif message.role == 'assistant' %}
{%- if loop.last and not add_generation_prompt %}
{%- if message.reasoning_content %}<|start|>assistant<|channel|>analysis<|message|>
{{- message.reasoning_content }}<|end|>{% endif -%}
<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|return|>
{%- else -%}
<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|end|>
{%- endif %}
{%- else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}""",
    special=("<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>"),
    stops=("<|return|>", "<|call|>"),
    call="<|channel|>analysis<|message|>Two and three.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.add <|constrain|>json<|message|>{"a": 2, "b": 3}',
    call_stop="<|call|>",
    junction="<|start|>functions.add to=assistant<|channel|>commentary<|message|>5<|end|><|start|>assistant",
    verdict="strips_reasoning",
    tool_parser="openai",
    reasoning_parser="openai",
)

GEMMA = Family(
    template="""\
{{- bos_token }}
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate') }}
{%- endif %}
{%- if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif -%}
<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}
{{ message.content | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}""",
    special=("<end_of_turn>", "<s>", "<eos>", "<start_of_turn>"),
    stops=("<end_of_turn>", "<eos>"),
    call="",
    call_stop="<end_of_turn>",
    junction="\n<start_of_turn>user\nAnd then?<end_of_turn>\n<start_of_turn>model\n",
    verdict="refuses",
    metaspace=True,
)

KIMI = Family(
    template="""\
{%- if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|im_assistant|>assistant<|im_middle|>{{ message.content }}
{%- if message.tool_calls %}<|tool_calls_section_begin|>
{%- for call in message.tool_calls -%}
<|tool_call_begin|>{{ call.id }}<|tool_call_argument_begin|>{{ call.function.arguments | tojson }}
{{- '<|tool_call_end|>' }}
{%- endfor %}<|tool_calls_section_end|>
{%- endif %}<|im_end|>
{%- elif message.role == 'tool' %}<|im_system|>tool<|im_middle|>## Return of {{ message.tool_call_id }}
{{ message.content }}<|im_end|>
{%- else %}<|im_user|>{{ message.role }}<|im_middle|>{{ message.content }}<|im_end|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}""",
    special=(
        "<|im_end|>",
        "<|im_user|>",
        "<|im_assistant|>",
        "<|im_system|>",
        "<|im_middle|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    ),
    stops=("<|im_end|>",),
    call="<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
    '{"a": 2, "b": 3}<|tool_call_end|><|tool_calls_section_end|>',
    call_stop="<|im_end|>",
    junction="<|im_system|>tool<|im_middle|>## Return of functions.add:0\n5<|im_end|>"
    "<|im_assistant|>assistant<|im_middle|>",
    verdict="extends",
    tool_parser="kimi_k2",
)

FAMILIES = {
    "chatml": CHATML,
    "chatml-merging": MERGING,
    "qwen3": QWEN3,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "deepseek": DEEPSEEK,
    "glm": GLM,
    "gpt-oss": HARMONY,
    "gemma": GEMMA,
    "kimi": KIMI,
}
