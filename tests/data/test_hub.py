"""Datasets on the Hub, which is a small server here, asked as the library asks the real one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

COMMIT = "a" * 40

PROGRAM = """
import json
from rollway.data import DatasetSource, find_rows
from rollway.errors import UserError

for fields in json.loads(input()):
    split = fields.pop("asked")
    try:
        found = find_rows(DatasetSource(**fields), split)
        print(json.dumps([list(found.rows), found.revision, found.fingerprint]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


class Hub(BaseHTTPRequestHandler):
    """One dataset, ``me/rows``, with one file; ``v1`` is a tag."""

    table = pyarrow.table({"n": [1, 2], "meta": [{"a": 1, "b": None}, {"a": None, "b": 2}]})

    def do_GET(self) -> None:  # the server's name for it
        sink = io.BytesIO()
        pyarrow.parquet.write_table(self.table, sink)
        file = sink.getvalue()
        digest = hashlib.sha1(file).hexdigest()
        path = self.path.partition("?")[0]
        api = "/api/datasets/me/rows"
        if path == f"{api}/tree/{COMMIT}":
            self.answer([{"type": "file", "path": "test.parquet", "size": len(file), "oid": digest}])
        elif path in (api, f"{api}/revision/v1", f"{api}/revision/{COMMIT}"):
            self.answer({"id": "me/rows", "sha": COMMIT, "siblings": [{"rfilename": "test.parquet"}]})
        elif path == f"/datasets/me/rows/resolve/{COMMIT}/test.parquet":
            self.answer(file, digest)
        else:
            self.answer({"error": "not found"}, status=404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, said: object, digest: str = "", status: int = 200) -> None:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": f'"{digest}"',
            "X-Repo-Commit": COMMIT,
            **({"X-Error-Code": "EntryNotFound"} if status == 404 else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_dataset_on_the_hub_is_read_at_the_commit_that_is_kept(hub: str, tmp_path: Path) -> None:
    asked = [
        {"source": "me/rows", "asked": "test"},
        {"source": "me/rows", "asked": "test", "revision": "v1"},
        {"source": "me/rows", "asked": "tset"},
        {"source": "me/rows", "asked": "test", "name": "main"},
        {"source": "me/rows", "asked": "test", "revision": "v2"},
        {"source": "me/rows", "asked": "test", "revision": "b" * 40},
    ]
    variables = {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | variables,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    first, tagged, no_split, no_configuration, no_tag, no_commit = map(json.loads, done.stdout.splitlines())
    rows, revision, fingerprint = first
    assert [(row["n"], row["meta"]) for row in rows] == [(1, {"a": 1}), (2, {"b": 2})]
    assert (revision, fingerprint) == (COMMIT, None)
    assert tagged == first
    assert "has no split 'tset' (did you mean 'test'?); it has: test" in no_split
    assert "BuilderConfig 'main' not found. Available: ['default']" in no_configuration
    assert "cannot be had from the Hub: 404" in no_tag
    assert (
        f"revision {'b' * 40} of 'me/rows' cannot be had from the Hub, and is not in the cache" in no_commit
    )
