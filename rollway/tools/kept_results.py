"""Results that are too long to show, kept whole in the sandbox, where the model's tools can read them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from rollway.tools.budgets import whole_of
from rollway.tools.execution import ExecutedCall
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError, SandboxFileError

FOLDER = ".results"


async def keep_whole(
    calls: Sequence[ExecutedCall], shares: Sequence[int], sandbox: Sandbox
) -> dict[str, str]:
    """Write the results that are longer than their shares to files of the sandbox's workspace.

    Returns:
        By call id, where its result is, or why it is nowhere; for the line in the place of what is cut.
    """
    notes: dict[str, str] = {}
    for call, share in zip(calls, shares, strict=True):
        whole = whole_of(call)
        if len(whole) <= share:
            continue
        path = kept_path(call.result.call_id)
        try:
            await sandbox.write(path, whole.encode("utf-8", "replace"))
            notes[call.result.call_id] = f"; the whole result is in {path}"
        except (SandboxError, SandboxFileError) as error:
            notes[call.result.call_id] = f"; the whole result could not be saved: {error}"
    return notes


def kept_path(call_id: str) -> str:
    """The file of a call's result: letters, digits, ``_`` and ``-``, and another for every id."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", call_id)[:64]
    if name != call_id:
        name += f"-{hashlib.sha256(call_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"{FOLDER}/{name}.txt"
