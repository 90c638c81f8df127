"""What the report promises: one file that needs no other, holds nothing that a model could run, and shows
the run's numbers and some of its rollouts."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_trajectories import (
    failed_trajectory,
    make_trajectory,
    trajectory_with_tool_error,
    unscored_trajectory,
)

from rollway.evaluation.charts import HEIGHT, LINE, WIDTH, columns, rows
from rollway.evaluation.conversations import MOST_MESSAGES, MOST_TEXT
from rollway.evaluation.report import render_report, write_report
from rollway.evaluation.samples import SampleChooser, Why
from rollway.evaluation.summary import summarize
from rollway.evaluation.tallies import Bin
from rollway.trajectory import ENGINE_NAME, StopReason

VOID = {"meta", "br", "img", "link", "hr", "input"}
EVIL = "</pre></script><script>alert('x')</script><img src=//evil onerror=alert(1)>\"'&{{ 7*7 }}"


class Page(HTMLParser):
    """The tags, attributes and text of a page. Raises when a tag is not closed where it should be."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def report_of(records, *, asked=None, samples=1, most=20, title="a run"):
    chooser = SampleChooser(most)
    for record in records:
        chooser.add(record)
    summary = summarize(records, asked=asked or len(records) * samples, samples=samples, wall_seconds=3.0)
    return render_report(summary, chooser.chosen(), title=title)


@pytest.fixture
def mixed():
    return [
        make_trajectory("a", 0, 1.0),
        trajectory_with_tool_error("b", 0, reward=0.25),
        failed_trajectory("c", 0),
        unscored_trajectory("d", 0),
        make_trajectory("e", 0, 0.5, stop_reason=StopReason.MAX_TURNS),
    ]


def test_the_page_is_whole_and_tells_the_numbers_and_the_failures(mixed):
    page = Page(report_of(mixed, asked=6))
    assert page.tags.count("html") == 1
    assert "mean reward of 3 scored rollouts" in page.text
    assert "With all 3 failed or missing ones counted as 0" in page.text
    assert "model_error: ServerUnreachable" in page.text
    assert "invalid_arguments" in page.text
    assert page.tags.count("svg") == 2
    assert page.tags.count("details") == 5


def test_it_loads_nothing_and_runs_nothing(mixed):
    page = Page(report_of(mixed))
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    names = {name for _, name, _ in page.attributes}
    assert not {"src", "href", "srcset", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    html = report_of(mixed)
    assert "url(" not in html
    assert "@import" not in html
    policy = ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'")
    assert policy in page.attributes


def evil_trajectory():
    trajectory = trajectory_with_tool_error(EVIL, 0, reward=0.0, model=EVIL, environment=EVIL)
    trajectory.rewards = {EVIL: 0.0}
    for message in trajectory.messages:
        message["content"] = EVIL
    trajectory.messages[2]["reasoning_content"] = EVIL
    trajectory.messages[2]["tool_calls"][0]["function"] = {"name": EVIL, "arguments": EVIL}
    trajectory.messages[1]["name"] = EVIL
    return trajectory


def test_what_a_model_wrote_is_text_wherever_it_stands():
    failed = failed_trajectory("f", 0, kind=EVIL)
    html = report_of([evil_trajectory(), failed], title=EVIL)
    page = Page(html)
    assert "<script" not in html
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert EVIL.split()[0] in page.text
    assert "{{ 7*7 }}" in page.text


@settings(max_examples=25)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_a_whole_page(said, named):
    trajectory = make_trajectory(named or "t")
    trajectory.messages[-1]["content"] = said
    trajectory.messages[-1]["tool_calls"] = [{"function": {"name": named, "arguments": said}}]
    Page(report_of([trajectory], title=named))


def test_a_conversation_shows_thought_call_result_answer_and_what_went_wrong(mixed):
    page = Page(report_of([trajectory_with_tool_error("b", 0, reward=0.25)]))
    for shown in ["What is 2 + 3?", "I should add.", 'add({"a": 2, "b": 3})', "The answer is 5."]:
        assert shown in page.text
    assert ("div", "class", "message tool failed") in page.attributes
    assert "Expecting property name" in page.text


@pytest.mark.parametrize(("approval", "told"), [("edited", "ran instead"), ("denied", "also not run")])
def test_a_call_that_was_edited_shows_what_it_ran_with_beside_what_the_model_wrote(approval, told):
    record = trajectory_with_tool_error()
    record.turns[0].tool_results = [
        replace(result, approval=approval, edited_arguments='{"a": "edited"}')
        for result in record.turns[0].tool_results
    ]
    page = Page(report_of([record]))
    assert f'{told}: add({{"a": "edited"}})' in page.text
    assert 'add({"a": 2, "b": 3})' in page.text


def test_a_failed_rollout_shows_its_error_and_traceback():
    page = Page(report_of([unscored_trajectory("d", 0)]))
    assert "KeyError (reward:right): 'answer'" in page.text
    assert "Traceback ..." in page.text
    assert "no score" in page.text


def test_messages_of_the_engine_are_not_taken_for_the_users():
    trajectory = make_trajectory()
    trajectory.messages.append({"role": "user", "name": ENGINE_NAME, "content": "Please go on."})
    assert "the engine Please go on." in Page(report_of([trajectory])).text


def test_content_in_parts_is_shown():
    trajectory = make_trajectory()
    trajectory.messages[1]["content"] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:none"}},
    ]
    assert 'What is this? {"type": "image_url"' in Page(report_of([trajectory])).text


def test_long_texts_and_long_conversations_are_cut_and_say_so():
    trajectory = make_trajectory()
    trajectory.messages[3]["content"] = "x" * (MOST_TEXT + 1234)
    trajectory.messages += [{"role": "user", "content": "again"}] * MOST_MESSAGES
    html = report_of([trajectory])
    assert "1,234 more characters" in html
    assert "5 messages not shown" in html
    assert len(html) < MOST_TEXT + 100_000


def test_a_run_without_any_rollout_has_a_report():
    page = Page(report_of([], asked=4))
    assert "No rollouts." in page.text
    assert "not known" in page.text


def test_half_a_surrogate_pair_does_not_keep_the_report_from_being_written(tmp_path):
    trajectory = make_trajectory()
    trajectory.messages[1]["content"] = "half \ud83d"
    chooser = SampleChooser()
    chooser.add(trajectory)
    summary = summarize([trajectory], asked=1, samples=1)
    write_report(tmp_path / "report.html", summary, chooser.chosen(), title="a run")
    assert "half ?" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None, "cut"]), max_size=30), st.integers(0, 10), st.randoms())
def test_the_sample_is_full_without_repeats_and_the_same_in_any_order(outcomes, most, random):
    records = []
    for i, outcome in enumerate(outcomes):
        if outcome == "cut":
            records.append(make_trajectory(f"t{i}", 0, 1.0, stop_reason=StopReason.MAX_TOKENS))
        else:
            records.append(
                make_trajectory(f"t{i}", 0, outcome) if outcome is not None else failed_trajectory(f"t{i}")
            )

    def chosen():
        chooser = SampleChooser(most)
        for record in records:
            chooser.add(record)
        return [(sample.why, sample.trajectory.task_id) for sample in chooser.chosen()]

    first = chosen()
    random.shuffle(records)
    assert chosen() == first
    assert len({task for _, task in first}) == len(first) == min(most, len(records))


def test_the_sample_shows_the_best_the_worst_the_cut_short_and_the_failed():
    records = [make_trajectory(f"t{i}", 0, i / 100) for i in range(100)]
    records += [failed_trajectory(f"f{i}") for i in range(10)]
    records += [make_trajectory(f"c{i}", 0, 0.5, stop_reason=StopReason.TRUNCATED) for i in range(10)]
    chooser = SampleChooser(8)
    for record in records:
        chooser.add(record)
    sample = [(item.why, item.trajectory.task_id) for item in chooser.chosen()]
    assert sample[:4] == [(Why.BEST, "t99"), (Why.BEST, "t98"), (Why.WORST, "t0"), (Why.WORST, "t1")]
    assert [why for why, _ in sample[4:]] == [Why.CUT_SHORT] * 2 + [Why.FAILED] * 2


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_bars_stay_inside_their_chart_and_keep_their_proportions(counts):
    upright = columns([Bin(float(i), float(i + 1), count) for i, count in enumerate(counts)])
    across = rows({f"reason{i}": count for i, count in enumerate(counts)})
    for bar in upright.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH
        assert bar.y + 0.1 >= LINE
        assert bar.y + bar.height <= HEIGHT - LINE + 0.1
        assert bar.height == pytest.approx(bar.count / max(counts) * (HEIGHT - 2 * LINE), abs=0.06)
    for bar in across.bars:
        assert bar.x + bar.width <= WIDTH
        assert bar.y + bar.height <= across.height
