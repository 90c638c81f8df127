"""The files of a score: ``scores/<name>.jsonl`` and ``scores/<name>.summary.json`` beside the run.

Each appears in one step when it is whole; what is unfinished has another name and is taken away. What was
scored before Ctrl-C stays, as ``scores/<name>.partial.jsonl``, until the score is whole; where it was to
replace a whole one, that one stays instead.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from rollway.errors import UserError, nearest
from rollway.scoring.records import ScoreRow, ScoreSummary
from rollway.whole_files import bring_to_disk, taking_the_place_of, write_whole

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ScoreFiles:
    """Where the score of one name stands.

    Raises:
        UserError: the name cannot be that of a file.
    """

    def __init__(self, run: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"invalid score name {name!r}: use letters, digits, '_', '-' and '.' in --name")
        self.name = name
        self.rows = run / "scores" / f"{name}.jsonl"
        self.partial = run / "scores" / f"{name}.partial.jsonl"
        self.summary = run / "scores" / f"{name}.summary.json"

    def refuse_to_overwrite(self) -> None:
        """Raises `UserError` when there is a score of this name."""
        if self.rows.exists():
            raise UserError(f"{self.rows} exists; choose another --name, or pass --overwrite to replace it")

    @contextmanager
    def writing(self) -> Iterator[Callable[[ScoreRow], None]]:
        """What rows are written with. They take their place when the block ends without an exception.

        Raises:
            UserError: they cannot be written. The old score, if any, is as it was.
        """
        with ExitStack() as held:
            with self._told_in_one_line():
                self.rows.parent.mkdir(exist_ok=True)
                file = held.enter_context(taking_the_place_of(self.rows, to_disk=False))

            def write(row: ScoreRow) -> None:
                with self._told_in_one_line():
                    file.write(msgspec.json.encode(row) + b"\n")

            try:
                yield write
            except KeyboardInterrupt:
                if not self.rows.exists():  # else the earlier score stays, and nothing else
                    with self._told_in_one_line():
                        bring_to_disk(file)
                        shutil.copyfile(file.name, self.partial)
                raise
            with self._told_in_one_line():
                bring_to_disk(file)  # here: a disk that fails says so while the old score is whole
                self.summary.unlink(missing_ok=True)  # that of the score which is replaced now
                held.close()
                self.partial.unlink(missing_ok=True)

    def write_summary(self, summary: ScoreSummary) -> None:
        """Raises `UserError` when it cannot be written."""
        with self._told_in_one_line():
            write_whole(self.summary, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")

    @contextmanager
    def _told_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write to {self.rows.parent}: {error.strerror or error}") from None

    def read_rewards(self) -> dict[tuple[str, int], float | None]:
        """(task_id, sample_index) to reward, of a score that is there.

        Raises:
            UserError: it is not there, or not whole.
        """
        decoder = msgspec.json.Decoder(ScoreRow)
        try:
            with self.rows.open("rb") as lines:
                rows = map(decoder.decode, lines)
                return {(row.task_id, row.sample_index): row.reward for row in rows}
        except FileNotFoundError:
            names = list_scores(self.rows.parent.parent)
            there = f"available: {', '.join(names)}" if names else "it has none yet"
            raise UserError(
                f"the run has no score {self.name!r}{nearest(self.name, names)}; {there}"
            ) from None
        except msgspec.DecodeError as error:
            raise UserError(f"{self.rows} holds a line that is not a score: {error}") from None


def list_scores(run: Path) -> list[str]:
    """The names of a run's scores."""
    return sorted(file.stem for file in (run / "scores").glob("*.jsonl") if not file.name.startswith("."))


def read_score_summary(run: Path, name: str) -> ScoreSummary:
    """The numbers of an earlier score.

    Raises:
        FileNotFoundError: there is none of this name.
        msgspec.DecodeError: it is no summary of this version.
    """
    return msgspec.json.decode(ScoreFiles(run, name).summary.read_bytes(), type=ScoreSummary)
