"""Model folders are read exactly, and what cannot be run is refused with a line that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollway.embedded.policy import find_policy, list_policies
from rollway.embedded.weights import load_weights, read_config, read_safetensors
from rollway.errors import UserError


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, shape, blob) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_three_types_are_read_to_the_bit(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5, 0.0], [3.140625, 65280.0, -0.0078125]], "<f4")
    path = write(
        tmp_path / "x.safetensors",
        {
            "f32": ("F32", [2, 3], values.tobytes()),
            "f16": ("F16", [3], values[0].astype("<f2").tobytes()),
            "bf16": ("BF16", [2, 3], (values.view("<u4") >> 16).astype("<u2").tobytes()),
        },
    )
    tensors = read_safetensors(path)
    np.testing.assert_array_equal(tensors["f32"], values)
    np.testing.assert_array_equal(tensors["f16"], values[0])
    np.testing.assert_array_equal(tensors["bf16"], values)
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())


def test_a_file_that_is_cut_off_says_which_tensor(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a": ("F32", [2], b"\0" * 8)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="tensor 'a' is incomplete"):
        read_safetensors(path)


def test_other_types_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="type I64 are not supported"):
        read_safetensors(write(tmp_path / "x.safetensors", {"a": ("I64", [1], b"\0" * 8)}))
    (tmp_path / "y.safetensors").write_bytes(b"not one of them at all")
    with pytest.raises(UserError, match="not a safetensors file"):
        read_safetensors(tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama"}, "model_type 'llama' is not supported"),
        ({"attention_bias": True}, "attention_bias is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "scaled RoPE is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window is not supported"),
    ],
)
def test_another_architecture_is_refused_by_name(
    tmp_path: Path, make_policy_folder: Callable[..., Path], change: dict[str, Any], words: str
) -> None:
    folder = make_policy_folder(tmp_path, num_hidden_layers=1, **change)
    with pytest.raises(UserError, match=words):
        read_config(folder)


def test_rope_is_read_where_either_version_of_transformers_writes_it(
    tmp_path: Path, make_policy_folder: Callable[..., Path]
) -> None:
    old = read_config(make_policy_folder(tmp_path / "old", num_hidden_layers=1))
    path = make_policy_folder(tmp_path / "new", num_hidden_layers=1) / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
    path.write_text(json.dumps(config))
    assert read_config(path.parent) == old


def test_a_missing_tensor_file_or_field_is_named(
    tmp_path: Path, make_policy_folder: Callable[..., Path]
) -> None:
    folder = make_policy_folder(tmp_path, num_hidden_layers=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(UserError, match=r"lacks the tensor 'model\.layers\.1\."):
        load_weights(folder)
    del config["head_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="lacks the field 'head_dim'"):
        load_weights(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_weights(folder)


def test_shipped_policies_are_found_by_name_and_near_names_are_hinted_at(tmp_path: Path) -> None:
    assert {"calculator", "calculator-weak"} <= set(list_policies())
    assert find_policy("calculator").name == "calculator"
    assert find_policy(str(tmp_path)) == tmp_path.resolve()
    with pytest.raises(UserError, match="did you mean 'calculator'"):
        find_policy("calculater")
