"""Where control groups are made, with what in them, and whose are removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollway.tools.sandboxes import SandboxLimits, SandboxSpec, cgroups, open_sandbox
from rollway.tools.sandboxes.orphans import is_dead, owner_name

MIB = 1 << 20


def test_in_version_2_a_group_is_made_where_the_controllers_are_given_on(tmp_path: Path) -> None:
    """A group with processes in it cannot give controllers to children: the one above can."""
    own = tmp_path / "slice" / "scope"
    own.mkdir(parents=True)
    for folder, given in ((own, ""), (own.parent, "cpu memory pids\n")):
        (folder / "cgroup.subtree_control").write_text(given)
        (folder / "cgroup.procs").write_text("")
    found = list(cgroups._candidates(own, 2, [""]))
    assert found == [cgroups.Parent(own.parent, frozenset({"memory", "pids"}), 2)]


def test_the_bounds_are_written_in_the_words_of_each_version(tmp_path: Path) -> None:
    both = frozenset({"memory", "pids"})
    second = dict(cgroups._bounds(cgroups.Parent(tmp_path, both, 2), 10 * MIB, 7))
    assert second == {"memory.max": 10 * MIB, "memory.swap.max": 0, "pids.max": 7}
    first = dict(cgroups._bounds(cgroups.Parent(tmp_path, frozenset({"memory"}), 1), 10 * MIB, 7))
    assert first == {"memory.limit_in_bytes": 10 * MIB, "memory.memsw.limit_in_bytes": 10 * MIB}


def test_only_the_groups_of_dead_owners_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = cgroups.Parent(tmp_path, frozenset({"memory"}), 2)
    monkeypatch.setattr(cgroups, "parents", lambda: (parent,))
    namespace, pid, started = owner_name().split("-")
    assert cgroups.make(owner_name(), "one", memory=1, processes=1) is not None
    assert cgroups.make(f"{namespace}-{pid}-{int(started) + 1}", "two", memory=1, processes=1) is not None
    (tmp_path / "system.slice").mkdir()
    cgroups.reap(is_dead)
    assert sorted(os.listdir(tmp_path)) == [f"rollway.{owner_name()}.one", "system.slice"]


def test_where_none_can_be_made_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = cgroups.Parent(tmp_path / "missing", frozenset({"memory"}), 2)
    monkeypatch.setattr(cgroups, "parents", lambda: (parent,))
    assert cgroups.make("owner", "one", memory=1, processes=1) is None


async def test_a_sandbox_without_a_group_works(bubblewrap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "parents", lambda: ())
    sandbox = await open_sandbox(SandboxSpec(limits=SandboxLimits(memory=256 * MIB)))
    try:
        done = await sandbox.exec(["python3", "-c", "x = b'x' * (300 << 20)"], timeout=20)
        assert b"MemoryError" in done.stderr
    finally:
        await sandbox.close()


async def test_a_sandbox_is_in_its_group(bubblewrap: None) -> None:
    if not cgroups.parents():
        pytest.skip("no cgroup with a memory controller can be made here")
    sandbox = await open_sandbox(SandboxSpec(limits=SandboxLimits(memory=256 * MIB, disk=64 * MIB)))
    try:
        groups = [
            folder
            for parent in cgroups.parents()
            for folder in parent.folder.glob(f"{cgroups.PREFIX}{owner_name()}.{sandbox.id}")
        ]
        assert groups
        for folder in groups:
            assert len((folder / "cgroup.procs").read_text().split()) >= 1
        values = [int((f / name).read_text()) for f in groups for name in BOUNDS if (f / name).exists()]
        assert 384 * MIB in values
    finally:
        await sandbox.close()
    assert not any(folder.exists() for folder in groups)


BOUNDS = ("memory.limit_in_bytes", "memory.max")
