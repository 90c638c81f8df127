"""What all tests share: which run together, a container engine, one Ray, the same examples and terminal.

The suite runs in several processes. Tests that share what takes seconds to make run in one of them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

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

BEGUN = pytest.StashKey[float]()
"""When the first test of a process began, on the monotonic clock."""

SHARED = {"ray_cluster": "ray", "podman_variables": "podman"}
"""Fixtures that many files use and that are slow to make, with the group that runs in one process."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--at-most", type=float, metavar="SECONDS", help="skip the tests that have not begun by then"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    seconds, now = item.config.getoption("--at-most"), time.monotonic()
    if seconds is not None and now - item.config.stash.setdefault(BEGUN, now) > seconds:
        pytest.skip(f"not begun within {seconds:g} s")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for the processes; the groups that wait longest begin first."""
    groups = {item: _group(item) for item in items if isinstance(item, pytest.Function)}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: groups.get(item) not in SHARED.values())


def _group(item: pytest.Function) -> str:
    """A name that the tests of one process share: what they share, their file, or nothing but parameters."""
    shared = next((SHARED[name] for name in item.fixturenames if name in SHARED), None)
    if shared is not None:
        return shared
    function, file = item.nodeid.partition("[")[0], item.nodeid.partition("::")[0]
    definitions = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
    kept = any(one.scope != "function" and one.baseid.startswith("tests") for one in definitions)
    return file if kept else function


@pytest.fixture
def ray_cluster() -> Any:
    """A Ray with four processors in this process, the same for tests that follow each other."""
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    return ray


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """No test finds a Ray that it has not asked for."""
    if _wants_ray(item) and not _wants_ray(nextitem):
        import ray

        ray.shutdown()


def _wants_ray(item: pytest.Item | None) -> bool:
    return isinstance(item, pytest.Function) and "ray_cluster" in item.fixturenames


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many recorded cases pass, by rule and by format."""
    passed: dict[str, Counter[str]] = {"rule": Counter(), "format": Counter()}
    total: dict[str, Counter[str]] = {"rule": Counter(), "format": Counter()}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for group, value in getattr(report, "user_properties", []):
                if group in total and report.when == "call":
                    total[group][value] += 1
                    passed[group][value] += outcome == "passed"
    for group, counts in total.items():
        if counts:
            terminalreporter.section(f"recorded cases by {group}: passed / all")
            cells = [f"{value} {passed[group][value]}/{counts[value]}" for value in sorted(counts)]
            terminalreporter.write_line("   ".join(cells))
