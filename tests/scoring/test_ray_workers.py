"""Scoring on Ray: the same rows as in one process, in the same order, whatever happens to a worker."""

import os
import signal
import threading
import time

import pytest
from sample_trajectories import make_trajectory

from rollway.scoring import ScoringInterrupted, score_run

pytestmark = pytest.mark.timeout(1200)  # Ray takes seconds to start, and many more on a busy machine


@pytest.fixture
def many(stored_run):
    stored_run.part(2, [make_trajectory(f"t{i % 6}", 10 + i) for i in range(200)])
    return stored_run


def test_a_ray_of_its_own_gives_the_very_rows_of_one_process_and_ends(many):
    here = score_run(many.path, reward=f"{many.rewards}:fussy", name="here")
    there = score_run(many.path, reward=f"{many.rewards}:fussy", name="there", workers=2)
    here_rows, there_rows = many.rows("here"), many.rows("there")
    for row in here_rows + there_rows:
        row.get("error", {}).pop("traceback", None)
    assert there_rows == here_rows
    assert (there.mean_reward, there.failures, there.comparisons) == (
        here.mean_reward,
        here.failures,
        here.comparisons,
    )
    assert not pytest.importorskip("ray").is_initialized()


def test_the_environments_own_rewards_are_loaded_on_the_workers(ray_cluster, many):
    assert score_run(many.path, workers=2).scored == 205
    assert ray_cluster.is_initialized()  # a connection that was there before stays


def test_a_function_that_kills_its_worker_costs_its_own_line_only(ray_cluster, many):
    deadly = many.write(
        "deadly.py",
        """
        import os, signal

        def deadly(trajectory):
            if trajectory.sample_index == 33:
                os.kill(os.getpid(), signal.SIGKILL)
            return 1.0
        """,
    )
    summary = score_run(many.path, reward=str(deadly), workers=2)
    assert (summary.on_record, summary.scored) == (206, 204)
    (dead,) = [row for row in many.rows("deadly") if row.get("error", {}).get("kind") == "WorkerDied"]
    assert dead["sample_index"] == 33
    assert "reward" not in dead
    assert [row["sample_index"] for row in many.rows("deadly")[6:]] == list(range(10, 210))


def test_a_timer_signal_works_in_a_worker(ray_cluster, many):
    """math-verify sets SIGALRM, which only the main thread of a process may."""
    timed = many.write(
        "timed.py",
        """
        import signal

        def timed(trajectory):
            old = signal.signal(signal.SIGALRM, lambda *_: None)
            signal.alarm(5)
            signal.alarm(0)
            signal.signal(signal.SIGALRM, old)
            return 1.0
        """,
    )
    assert score_run(many.path, reward=str(timed), workers=1).scored == 205
    assert score_run(many.path, reward=str(timed), name="here").scored == 205


def test_what_workers_have_scored_before_ctrl_c_is_kept(ray_cluster, many):
    reached = many.path.parent / "reached"
    halting = many.write(
        "halting.py",
        f"""
        import pathlib, threading

        def halting(trajectory):
            if trajectory.sample_index == 40:
                pathlib.Path({str(reached)!r}).touch()
                threading.Event().wait(60)
            return 1.0
        """,
    )

    def interrupt() -> None:
        while not reached.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(ScoringInterrupted):
        score_run(many.path, reward=str(halting), workers=1)
    assert 40 not in [row["sample_index"] for row in many.rows("halting.partial")]
    assert sum("reward" in row for row in many.rows("halting.partial")) > 30
