"""Scoring a stored run again: what was recorded stays, every rollout has one row, and nothing is made up."""

import errno
import os

import pytest
from sample_trajectories import make_trajectory, unscored_trajectory
from stored_runs import files_no_larger_than

from rollway.environments.sources import source_digests
from rollway.errors import UserError
from rollway.scoring import ScoringInterrupted, score_run
from rollway.scoring.offline import CHUNK_BYTES, CHUNK_LINES
from rollway.scoring.score_files import list_scores, read_score_summary
from rollway.statistics import clustered_mean, clustered_mean_of_sums
from rollway.stored.identity import Identity, write_identity
from rollway.stored.task_digests import TaskDigests, task_fields


def score(run, function=None, **options):
    reward = None if function is None else f"{run.rewards}:{function}"
    return score_run(run.path, reward=reward, **options)


def test_the_environments_own_rewards_are_asked_again(stored_run):
    summary = score(stored_run)
    assert [
        (row["task_id"], row["sample_index"], row.get("reward")) for row in stored_run.rows("environment")
    ] == [
        ("t0", 0, 1.0),
        ("t0", 1, 1.0),
        ("t1", 0, 0.0),
        ("t1", 1, None),
        ("t2", 0, 1.0),
        ("t2", 1, 1.0),
    ]
    assert summary.mean_reward == clustered_mean([[1, 1], [0], [1, 1]])
    assert summary.rewards["right"] == summary.mean_reward
    assert (summary.on_record, summary.scored, summary.failures) == (6, 5, {"rollout: model_error": 1})


def test_what_was_recorded_is_not_changed(stored_run):
    before = stored_run.files()
    score(stored_run, "twice")
    score(stored_run, "fussy")
    assert stored_run.files() == before
    assert stored_run.scores() == ["fussy.jsonl", "fussy.summary.json", "twice.jsonl", "twice.summary.json"]
    assert list_scores(stored_run.path) == ["fussy", "twice"]


def test_a_function_of_a_file_gets_the_trajectory_and_its_own_task(stored_run):
    summary = score(stored_run, "twice")
    assert summary.mean_reward.mean == 2.0 * 4 / 5
    assert summary.rewards_from == f"{stored_run.rewards}:twice"
    assert read_score_summary(stored_run.path, "twice") == summary


def test_a_function_of_the_trajectory_alone_needs_no_environment(stored_run):
    stored_run.environment.unlink()
    assert score(stored_run, "turns").mean_reward.mean == 2.0


def test_async_functions_are_awaited(stored_run):
    assert score(stored_run, "judged").mean_reward.mean == 0.5


def test_a_function_that_raises_leaves_a_row_with_the_reason_and_no_zero(stored_run):
    summary = score(stored_run, "fussy")
    assert summary.mean_reward.mean == 1.0
    assert summary.failures == {"reward_error: fussy: LookupError": 1, "rollout: model_error": 1}
    row = stored_run.rows("fussy")[2]
    assert "reward" not in row
    assert row["error"]["where"] == "reward:fussy"
    assert "no such thing" in row["error"]["traceback"]


def test_a_stale_reward_error_in_the_record_does_not_stand_in_the_row(stored_run):
    score(stored_run, "judged")
    assert "error" not in stored_run.rows("judged")[4]


def test_the_score_is_compared_with_the_recorded_one_pair_by_pair(stored_run):
    (comparison,) = score(stored_run).comparisons
    assert comparison.against == "recorded"
    assert comparison.old.mean == 1.0
    assert comparison.new.mean == 0.75
    assert comparison.difference == clustered_mean([[0, 0], [-1], [0]])
    assert (comparison.only_old, comparison.only_new) == (0, 1)


def test_the_score_is_compared_with_an_earlier_one(stored_run):
    score(stored_run, "fussy")
    _, comparison = score(stored_run, "twice", compare="fussy").comparisons
    assert comparison.against == "fussy"
    assert comparison.difference == clustered_mean_of_sums([(2, 2), (2, 2)])  # it could have been below 0
    assert (comparison.only_old, comparison.only_new) == (0, 1)


def test_what_was_asked_for_and_is_missing_counts_as_zero_beside_the_mean(stored_run):
    assert score(stored_run).missing is None
    stored_run.asked(8, 2)
    summary = score(stored_run, overwrite=True)
    assert summary.missing == 2
    assert summary.mean_reward_of_asked == clustered_mean([[1, 1], [0, 0], [1, 1], [0, 0]])


def test_a_torn_last_line_is_left_out_and_counted(stored_run):
    stored_run.part(2, [make_trajectory("t3", 0)], torn=b'{"schema_version":1,"id":"x","mess')
    summary = score(stored_run)
    assert (summary.on_record, summary.torn_lines) == (7, 1)


def test_a_broken_line_in_the_middle_is_refused_with_its_place(stored_run):
    part = stored_run.path / "trajectories" / "part-00002.jsonl"
    part.write_bytes(b'{"half\n{"id": "x"}\n')
    with pytest.raises(UserError, match=r"part-00002.jsonl, line 1: not a trajectory"):
        score(stored_run)
    assert stored_run.scores() == []


def test_a_record_of_another_schema_has_a_row_that_says_so(stored_run):
    part = stored_run.path / "trajectories" / "part-00002.jsonl"
    part.write_bytes(b'{"schema_version":99,"id":"x","messages":[],"task_id":"t3"}\n')
    summary = score(stored_run)
    assert summary.failures["record: ValidationError"] == 1
    assert "schema version 99" in stored_run.rows("environment")[-1]["error"]["message"]


def test_a_score_is_not_overwritten_unless_asked_to(stored_run):
    first = score(stored_run, "twice", name="mine")
    with pytest.raises(UserError, match=r"mine.jsonl exists; .*--name.*--overwrite"):
        score(stored_run, "judged", name="mine")
    assert read_score_summary(stored_run.path, "mine") == first
    second = score(stored_run, "judged", name="mine", overwrite=True)
    assert read_score_summary(stored_run.path, "mine") == second


def test_a_scoring_that_is_interrupted_leaves_the_earlier_score_and_no_scraps(stored_run):
    first = score(stored_run, "twice")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(stored_run, "judged", name="twice", overwrite=True, on_progress=interrupt)
    assert read_score_summary(stored_run.path, "twice") == first
    assert sorted(os.listdir(stored_run.path / "scores")) == ["twice.jsonl", "twice.summary.json"]


def test_rows_stand_in_the_order_of_the_run_over_many_chunks(stored_run):
    count = CHUNK_LINES * 2 + 5
    stored_run.part(2, [make_trajectory(f"t{i % 6}", 10 + i) for i in range(count)])
    seen = []
    score(stored_run, "judged", on_progress=lambda done, total: seen.append((done, total)))
    assert [row["sample_index"] for row in stored_run.rows("judged")[6:]] == list(range(10, 10 + count))
    assert seen == [(CHUNK_LINES, count + 6), (2 * CHUNK_LINES, count + 6), (count + 6, count + 6)]


def test_big_records_make_small_chunks(stored_run):
    big = {"role": "tool", "content": "x" * (CHUNK_BYTES // 2)}
    records = [make_trajectory("t0", 10 + i, messages=[big]) for i in range(4)]
    stored_run.part(2, records)
    seen = []
    score(stored_run, "turns", on_progress=lambda done, total: seen.append(done))
    assert seen == [8, 10]


def test_a_task_that_is_gone_is_no_zero(stored_run):
    stored_run.part(2, [make_trajectory("t99", 0)])
    summary = score(stored_run)
    assert summary.failures["environment: unknown_task"] == 1
    assert summary.mean_reward.n == 5


def test_environment_arguments_of_the_run_are_used(stored_run):
    stored_run.config(environment=str(stored_run.environment), split="test", environment_args={"offset": 1})
    assert score(stored_run).mean_reward == clustered_mean([[0, 0], [0], [0, 0]])


def test_an_environment_that_has_moved_can_be_pointed_at(stored_run):
    moved = stored_run.environment.rename(stored_run.environment.with_name("moved.py"))
    with pytest.raises(UserError, match=r"sums.py.*--environment"):
        score(stored_run)
    assert score(stored_run, environment=str(moved)).scored == 5


def test_an_endless_split_is_read_no_further_than_needed(stored_run):
    endless = stored_run.write(
        "endless.py",
        """
        import itertools
        from rollway import Environment

        class Endless(Environment):
            rewards = [lambda trajectory, task: float(task["task_id"][1:])]

            def tasks(self, split):
                return ({"task_id": f"t{i}"} for i in itertools.count())
        """,
    )
    stored_run.config(environment=str(endless))
    assert score(stored_run).mean_reward.mean == pytest.approx((0 + 0 + 1 + 2 + 2) / 5)


def test_a_stored_rollout_has_its_answer_and_a_function_may_name_several_numbers(stored_run):
    named = stored_run.write(
        "named.py",
        """
        def judged(trajectory, task):
            return {"right": task["answer"] in (trajectory.answer or ""), "long": len(trajectory.answer) > 80}
        """,
    )
    summary = score_run(stored_run.path, reward=f"{named}:judged")
    assert {name: mean.mean for name, mean in summary.rewards.items()} == {"right": 0.8, "long": 0.0}
    assert summary.mean_reward.mean == 0.8
    assert stored_run.rows("judged")[0]["rewards"] == {"right": 1.0, "long": 0.0}


MISTAKES = [
    ({"reward": "{dir}/my_rewards.py:twise"}, r"'twise' does not exist \(did you mean 'twice'\?\)"),
    (
        {"reward": "{dir}/my_rewards.py:NUMBER"},
        r"'NUMBER' is not a function; it has: fussy, judged, turns, twice",
    ),
    ({"reward": "{dir}/my_rewards.py"}, r"name a function, as in .*my_rewards.py:fussy"),
    ({"reward": "{dir}/none.py:f"}, r"no file .*none.py"),
    ({"reward": "twice"}, r"give it as path/to/file.py:function"),
    ({"reward": "{dir}/bad.py:f"}, r"bad.py, line 2: the file cannot be imported: .*not_there"),
    ({"reward": "{dir}/syntax.py:f"}, r"syntax.py, line 1: .*SyntaxError"),
    ({"reward": "{dir}/empty.py"}, r"has no function\(trajectory, task\)"),
    (
        {"reward": "{dir}/foreign.py:f"},
        r"foreign.py: 'f' takes \(completion, answer\); a reward is called with",
    ),
    ({"name": "a/b"}, r"invalid score name 'a/b'"),
    ({"compare": "twise"}, r"no score 'twise'.*it has none yet"),
    ({"environment": "calculater"}, r"no environment named 'calculater'"),
]


@pytest.mark.parametrize(("options", "complaint"), MISTAKES)
def test_a_mistake_in_the_request_is_one_line_and_writes_nothing(stored_run, options, complaint):
    stored_run.write("bad.py", "import math\nimport not_there\n")
    stored_run.write("syntax.py", "def f(:\n")
    stored_run.write("empty.py", "x = 1\n")
    stored_run.write("foreign.py", "def f(completion, answer):\n    return 1.0\n")
    options = {name: value.format(dir=stored_run.path.parent) for name, value in options.items()}
    with pytest.raises(UserError, match=complaint) as caught:
        score_run(stored_run.path, **options)
    assert "\n" not in str(caught.value)
    assert stored_run.scores() == []


def test_a_run_that_is_not_there_is_told_with_the_nearest_name(stored_run):
    with pytest.raises(UserError, match=r"no run directory .*sums-2 \(did you mean 'sums-1'\?\)"):
        score_run(stored_run.path.with_name("sums-2"))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no trajectories"):
        score_run(tmp_path)


def test_an_environment_that_has_none_of_the_tasks_is_refused(stored_run):
    stored_run.part(0, [make_trajectory("other", 0)])
    stored_run.part(1, [])
    with pytest.raises(UserError, match=r"'sums', split 'test' has none of the 1 tasks of .*'other'"):
        score(stored_run)


def test_a_split_that_is_gone_is_refused(stored_run):
    stored_run.config(environment=str(stored_run.environment), split="dev")
    with pytest.raises(UserError, match="no split 'dev'"):
        score(stored_run)


def test_a_run_of_which_nothing_can_be_scored_has_no_mean(stored_run):
    always = stored_run.write("always.py", "def raises(trajectory):\n    raise RuntimeError\n")
    stored_run.part(0, [unscored_trajectory("t0", 0)])
    stored_run.part(1, [])
    summary = score_run(stored_run.path, reward=f"{always}")
    assert (summary.name, summary.scored, summary.mean_reward) == ("raises", 0, None)
    assert summary.comparisons[0].difference is None


def test_a_disk_that_is_full_is_one_line_and_leaves_the_old_score(stored_run):
    first = score(stored_run, "twice", name="mine")
    rows = stored_run.rows("mine")
    told = pytest.raises(UserError, match=r"cannot write to .*scores: File too large")
    with files_no_larger_than(50), told:
        score(stored_run, "judged", name="mine", overwrite=True)
    assert stored_run.rows("mine") == rows
    assert read_score_summary(stored_run.path, "mine") == first
    assert sorted(os.listdir(stored_run.path / "scores")) == ["mine.jsonl", "mine.summary.json"]


def test_a_disk_that_fails_at_the_end_leaves_the_old_score_and_its_numbers(stored_run, monkeypatch):
    first = score(stored_run, "twice", name="mine")
    rows = stored_run.rows("mine")

    def fsync(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"cannot write to .*scores: Input/output error"):
        score(stored_run, "judged", name="mine", overwrite=True)
    assert stored_run.rows("mine") == rows
    assert read_score_summary(stored_run.path, "mine") == first


def test_a_failed_rollout_that_was_done_again_is_scored_once(stored_run):
    done_again = make_trajectory("t1", 1, reward=1.0)
    stored_run.part(7, [done_again])
    summary = score(stored_run, "turns")
    assert (summary.on_record, summary.scored) == (6, 6)
    assert [row["trajectory_id"] for row in stored_run.rows("turns")].count(done_again.id) == 1


def put_on_record(stored_run, **source):
    """What the run began with: the tasks as they are, and what is given of the environment's source."""
    tasks = {f"t{i}": {"task_id": f"t{i}", "answer": str(5 + i % 2)} for i in range(3)}
    digests = TaskDigests(stored_run.path)
    for task_id, task in tasks.items():
        digests.add(task_id, task_fields(task))
    digests.close()
    write_identity(stored_run.path, Identity(source=source))


def test_tasks_that_changed_since_the_run_are_refused_by_name(stored_run):
    put_on_record(stored_run)
    assert score(stored_run).allowed == []
    stored_run.write("sums.py", stored_run.environment.read_text().replace("5 + i % 2", "6 + i % 2"))
    before = stored_run.scores()
    with pytest.raises(UserError, match=r"task 't0' is not .*its 'answer' changed\), and 2 more.*--allow-ch"):
        score(stored_run, "twice")
    assert stored_run.scores() == before
    assert score(stored_run, "turns").allowed == [], "it looks at no task"
    summary = score(stored_run, "twice", allow_changed_tasks=True)
    assert summary.allowed == ["changed-tasks"]
    assert read_score_summary(stored_run.path, "twice").allowed == ["changed-tasks"]


def test_an_edited_environment_scores_and_the_summary_says_that_it_was_edited(stored_run):
    put_on_record(stored_run, **source_digests(str(stored_run.environment)))
    assert score(stored_run).changed_source == []
    stored_run.write("sums.py", stored_run.environment.read_text().replace("float(", "0.5 * float("))
    summary = score(stored_run, overwrite=True)
    assert summary.changed_source == ["sums.py changed"]
    assert summary.source == source_digests(str(stored_run.environment))
    assert score(stored_run, "twice").source == source_digests(str(stored_run.rewards))


def test_a_hung_function_costs_its_own_rollout_only(stored_run):
    hanging = stored_run.write(
        "hanging.py",
        """
        import threading

        def hanging(trajectory, task):
            if task["task_id"] == "t1":
                threading.Event().wait(60)
            return 1.0
        """,
    )
    summary = score_run(stored_run.path, reward=str(hanging), reward_timeout=0.2)
    assert summary.failures == {"reward_error: hanging: TimeoutError": 1, "rollout: model_error": 1}
    (row,) = [row for row in stored_run.rows("hanging") if row.get("error", {}).get("kind") == "TimeoutError"]
    assert "did not return within 0.2 s, in rollout t1/0" in row["error"]["message"]


def test_what_was_scored_before_ctrl_c_is_kept_until_the_score_is_whole(stored_run):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(ScoringInterrupted, match=r"6 of 6 rollouts were done: .*twice\.partial\.jsonl"):
        score(stored_run, "twice", on_progress=interrupt)
    assert os.listdir(stored_run.path / "scores") == ["twice.partial.jsonl"]
    partial = stored_run.rows("twice.partial")
    score(stored_run, "twice")
    assert stored_run.rows("twice") == partial
    assert sorted(os.listdir(stored_run.path / "scores")) == ["twice.jsonl", "twice.summary.json"]


def test_each_rollout_is_scored_with_its_own_copy_of_its_task(stored_run):
    stored_run.part(2, [make_trajectory("t0", 10 + i) for i in range(3)])
    marking = stored_run.write(
        "marking.py",
        """
        def marking(trajectory, task):
            task.setdefault("marks", []).append(1)
            return len(task["marks"]) == 1
        """,
    )
    summary = score_run(stored_run.path, reward=str(marking))
    assert summary.mean_reward.mean == 1.0


def test_a_function_may_run_in_a_process_which_is_killed_at_its_deadline(stored_run):
    apart = stored_run.write(
        "apart.py",
        """
        import os, re, signal
        from rollway import Reward

        def _judge(trajectory, task):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which is for the main thread only
            if task["task_id"] == "t1":
                re.match(r"(a+)+$", "a" * 40 + "b")  # holds the interpreter's lock
            return 1

        judge = Reward(_judge, where="process")
        """,
    )
    summary = score_run(stored_run.path, reward=f"{apart}:judge", reward_timeout=3.0)
    assert summary.failures == {"reward_error: judge: TimeoutError": 1, "rollout: model_error": 1}
    assert summary.rewards["judge"].mean == 1.0
