"""What goes along with the record of a rollout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rollway.evaluation.calls_file import CallsWriter
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.sitting import _keep
from rollway.evaluation.tapes import KeptList, RecordingTape
from rollway.tools.replay import RecordingWriter, decode_recording
from rollway.trajectory import StopReason

SHARED = KeptList("a", "digest a", b"x" * 44_000)
OWN = KeptList("b", "digest b", b"y" * 44_000)


def test_a_list_goes_along_once_and_each_record_names_it_in_few_bytes() -> None:
    told: set[str] = set()
    for number in range(3):
        tape = RecordingTape([SHARED])
        tape.add_lists([OWN])
        recorded = tape.recorded(("task", number), "id", told)
        new = {} if number else {SHARED.digest: SHARED.content, OWN.digest: OWN.content}
        assert recorded.tool_lists == new
        assert (recorded.size > 88_000) == (number == 0)
        assert decode_recording(recorded.line).mcp == {"a": "digest a", "b": "digest b"}
        assert len(recorded.line) < 200


def test_a_rollout_that_ended_early_names_the_servers_that_it_had_until_then() -> None:
    recorded = RecordingTape([SHARED]).recorded(("task", 0), "id", {SHARED.digest})
    assert decode_recording(recorded.line).mcp == {"a": "digest a"}
    assert decode_recording(RecordingTape().recorded(("task", 0), "id", set()).line).mcp == {}


def test_a_list_that_came_with_a_cancelled_rollout_is_kept_for_those_that_were_not(tmp_path: Path) -> None:
    recorded = RecordingTape([SHARED]).recorded(("task", 0), "id", set())
    cancelled = Outcome(b"{}", StopReason.CANCELLED, True, None, 0, recorded=recorded)
    set_aside: list[bytes] = []
    run: Any = SimpleNamespace(path=tmp_path, set_aside=set_aside.append, refuse_gone=lambda: None)
    job: Any = SimpleNamespace(key=("task", 0))
    counts: Any = None
    _keep(run, RecordingWriter(tmp_path), CallsWriter(tmp_path), counts, job, cancelled, True)
    assert set_aside == [b"{}"]
    (file,) = (tmp_path / "recordings" / "mcp").iterdir()
    assert (file.stem, file.read_bytes()) == (SHARED.digest, SHARED.content)
