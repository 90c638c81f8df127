"""Writes the tokenizer and the chat template of a GGUF as a model folder: ``model_folder.py MODEL FOLDER``.

Run with the Python of the llama environment. Reads vocabularies of llama.cpp's kind ``gpt2`` that split texts
as SmolLM's do; whether the ids are the server's own is for the tests to show.
"""

import json
import sys
from pathlib import Path

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3


def main(model: Path, folder: Path) -> None:
    fields = GGUFReader(model).fields

    def read(name):
        return fields[f"tokenizer.{name}"].contents()

    kind = (read("ggml.model"), read("ggml.pre"))
    if kind != ("gpt2", "smollm"):
        sys.exit(f"{model} has a vocabulary of the kind {kind}, which is not read here")
    tokens = read("ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in read("ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    controls = [tokens[at] for at, kind in enumerate(read("ggml.token_type")) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in controls])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(read("chat_template"), encoding="utf-8")
    settings = {
        "bos_token": tokens[read("ggml.bos_token_id")],
        "eos_token": tokens[read("ggml.eos_token_id")],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
