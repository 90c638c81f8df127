"""What a run may change of the sandbox that an environment asks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rollway.errors import UserError
from rollway.tools.sandboxes import Mount, SandboxChanges, SandboxLimits, SandboxSpec, check_backend

SPEC = SandboxSpec(
    backend="docker", image="debian", network=True, limits=SandboxLimits(processes=8), environment={"A": "1"}
)


def test_nothing_given_changes_nothing() -> None:
    assert SandboxChanges().applied(SPEC) == SPEC


def test_what_is_given_wins_and_the_rest_stays() -> None:
    mounts = [Mount("/data", "/data")]
    changed = SandboxChanges(network=False, mounts=mounts, limits={"memory": 7}).applied(SPEC)
    assert changed.limits == SandboxLimits(processes=8, memory=7)
    assert (changed.network, changed.mounts, changed.image) == (False, mounts, "debian")
    assert changed.environment == {"A": "1"}


def test_a_backend_without_images_drops_the_image() -> None:
    assert SandboxChanges(backend="bubblewrap").applied(SPEC).image is None


@pytest.mark.parametrize("limits", [{"memory": 0}, {"procs": 3}])
def test_a_limit_that_cannot_be_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"sandbox\.limits"):
        SandboxChanges(limits=limits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"limits": SandboxLimits(memory=512)},
            r"sandbox\.limits\.memory is in bytes, and 512 is too few to start a shell",
        ),
        ({"environment": {"A=B": "x"}}, "sandbox.environment: 'A=B' is not a valid environment variable"),
        ({"environment": {"A": "x\0"}}, "sandbox.environment: 'A' is not a valid environment variable"),
        ({"environment": {"A": 1}}, r"sandbox.environment\[...\]: Expected str, got int"),
        ({"network": "no"}, "sandbox.network: Expected bool, got str"),
        ({"hidden": "/usr"}, "sandbox.hidden: Expected array, got str"),
        ({"mounts": ["/data"]}, r"sandbox.mounts\[0\]: Expected object, got str"),
        ({"limits": {"memory": 1 << 30}}, r"sandbox.limits: give it as SandboxLimits\(...\), not {'memory'"),
        ({"hidden": ["usr/share"]}, "sandbox.hidden: 'usr/share' is not an absolute path"),
    ],
)
def test_a_spec_that_no_command_could_run_in_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_backend(SandboxSpec(backend="local", **fields))


@pytest.mark.parametrize("memory", ["2G", 1e9, True])
def test_a_limit_is_a_whole_number(memory: Any) -> None:
    with pytest.raises(ValueError, match=r"sandbox.limits.memory must be a whole number, got "):
        SandboxLimits(memory=memory)


def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown sandbox.backend 'dcoker' \(did you mean 'docker'\?\)"):
        check_backend(SandboxSpec(backend="dcoker", image="x"))  # type: ignore[arg-type]


def test_a_spec_travels_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=SandboxSpec) == SPEC
