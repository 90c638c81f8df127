"""What servers say and what becomes of it: the rows of ``data/server_replies.jsonl``, for tests and docs.

.venv/bin/python tests/server_replies.py    writes their tables into docs/clients.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
DOCS = ROOT.parent / "docs" / "clients.md"
BEGIN = "<!-- made of tests/data/server_replies.jsonl by tests/server_replies.py -->"
END = "<!-- end of what is made -->"

TITLES = {
    "ending": "How a reply ends: its finish reason, and the stop reason of the rollout",
    "refusal": "Errors with a status of their own",
    "in_200": "Errors inside a 200",
    "cut": "Bodies that are no reply",
    "shape": "What the model said",
    "token_data": "Token data: trained on, or the name in `Turn.untrainable`",
}


def rows(kind: str) -> list[dict[str, Any]]:
    lines = (ROOT / "data" / "server_replies.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def tables() -> str:
    """The rows in Markdown, one table a kind."""
    lines = [BEGIN]
    for kind, title in TITLES.items():
        lines += ["", f"### {title}", "", "| said by | it says | what becomes of it |", "|---|---|---|"]
        lines += [f"| {row['server']} | {_cell(row['says'])} | {row['becomes']} |" for row in rows(kind)]
    return "\n".join([*lines, "", END])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<4", "&lt;4")


def written(page: str) -> str:
    """A page with its tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    return before + tables() + rest.partition(END)[2]


if __name__ == "__main__":
    DOCS.write_text(written(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
