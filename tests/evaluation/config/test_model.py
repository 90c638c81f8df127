"""The model section: a server or a policy to serve, never both."""

from __future__ import annotations

from rollway.evaluation.config_files import load_config


def test_a_server_of_ones_own_leaves_the_embedded_policy_out() -> None:
    config = load_config("calculator", {"model.base_url": "http://127.0.0.1:1"})
    assert config.model.policy is None
