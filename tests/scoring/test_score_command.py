"""``rollway score`` as it is typed."""

import pytest

from rollway.cli import main


def typed(capsys, *words):
    code = main(["score", *map(str, words)])
    return code, capsys.readouterr()


def test_it_prints_the_score_the_comparison_and_where_the_rows_are(stored_run, capsys):
    code, told = typed(capsys, stored_run.path)
    assert code == 0
    assert "6 on disk, 5 scored" in told.out
    assert "1 failed: rollout: model_error" in told.out
    assert "0.800" in told.out
    assert "difference  -0.250" in told.out
    assert "over 4 pairs" in told.out
    assert f"scores: {stored_run.path}/scores/environment.jsonl" in told.out
    assert "\x1b" not in told.out


def test_a_function_of_a_file_can_be_compared_with_an_earlier_score(stored_run, capsys):
    typed(capsys, stored_run.path)
    reward = f"{stored_run.rewards}:twice"
    code, told = typed(capsys, stored_run.path, "--reward", reward, "--compare", "environment")
    assert code == 0
    assert "environment  0.800" in told.out
    assert "this         1.600" in told.out
    assert "over 5 pairs" in told.out
    assert stored_run.scores()[-2:] == ["twice.jsonl", "twice.summary.json"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{run}-2"], "no run directory"),
        (["{run}", "--reward", "{dir}/my_rewards.py:twise"], "did you mean 'twice'?"),
        (["{run}", "--ray-address", "auto"], "--ray-address requires --workers"),
        (["{run}", "--workers", "-1"], "--workers"),
        (["{run}", "--workers", "1", "--ray-address", "127.0.0.1:1"], "no Ray cluster at '127.0.0.1:1'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(stored_run, capsys, words, complaint):
    words = [word.format(run=stored_run.path, dir=stored_run.path.parent) for word in words]
    code, told = typed(capsys, *words)
    assert code == 2
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert complaint in told.err


def test_a_run_of_which_nothing_could_be_scored_ends_with_exit_code_1(stored_run, capsys):
    broken = stored_run.write("broken.py", "def broken(trajectory):\n    return None\n")
    code, told = typed(capsys, stored_run.path, "--reward", broken)
    assert code == 1
    assert "none: no rollout was scored" in told.out
    assert "reward_error: broken: TypeError" in told.out


def test_help_shows_an_example(capsys):
    code, told = typed(capsys, "--help")
    assert code == 0
    assert "rollway score runs/" in told.out
