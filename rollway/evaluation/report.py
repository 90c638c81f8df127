"""report.html: a run's numbers and some of its rollouts as conversations, in one file that needs no other.

What models and tools wrote is shown as text and never as markup: the template escapes every value, and the
page forbids scripts besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollway.evaluation.charts import columns, rows
from rollway.evaluation.conversations import conversation
from rollway.evaluation.samples import Sample
from rollway.evaluation.summary import RunSummary
from rollway.evaluation.table import mixed, number_text
from rollway.whole_files import write_whole


def write_report(path: Path, summary: RunSummary, samples: Sequence[Sample], *, title: str) -> None:
    """Write the report of a run. An earlier one is replaced in one step."""
    html = render_report(summary, samples, title=title)
    write_whole(path, html.encode("utf-8", "replace"))  # half a surrogate pair cannot be written


def render_report(summary: RunSummary, samples: Sequence[Sample], *, title: str) -> str:
    """The report as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rollway.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number_text
    return environment.get_template("report.html.jinja").render(
        title=title,
        summary=summary,
        mixed=mixed(summary),
        histogram=columns(summary.reward_histogram),
        stops=rows(summary.stop_reasons),
        conversations=[conversation(sample) for sample in samples],
    )
