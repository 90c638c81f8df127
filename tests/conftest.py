"""What all tests share: a container engine, and no fault of theirs by the speed or terminal they run on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from container_image import NoPodman, podman_with_images
from hypothesis import HealthCheck, settings

# Every run draws the same examples, so that what passed here passes elsewhere; others are drawn with
# --hypothesis-profile=search. The time that an example takes is the machine's to keep and not the code's.
UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("search", UNHURRIED)
settings.register_profile("same", UNHURRIED, derandomize=True)
settings.load_profile("same")

# What is printed is compared, also that of programs which the tests start: as wide and as plain as anywhere.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
os.environ["TERM"] = "xterm"


@pytest.fixture(scope="session")
def podman_variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Under these environment variables podman has the images of `container_image`, which are made once."""
    try:
        with podman_with_images(tmp_path_factory.mktemp("podman")) as variables:
            yield variables
    except NoPodman as reason:
        pytest.skip(str(reason))


@pytest.fixture
def engine(podman_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers can be run in this test; where they cannot, it is skipped with the reason."""
    for name, value in podman_variables.items():
        monkeypatch.setenv(name, value)
