"""A small MCP server over stdio in the standard library alone: quick to start, and able to misbehave.

Run as a program: python raw_server.py [stubborn] [noisy] [silent] [endless] [signed]. ``stubborn`` ignores
SIGTERM and the end of stdin; ``noisy`` begins with lines on stdout that are no message; ``silent`` never
answers; ``endless`` lists tools without end; ``signed`` says its process id in what it tells of each tool.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

PAGES = {"": (["pid", "hang", "freeze"], "2"), "2": (["die", "flood", "chatter", "spawn"], "3")}
LAST = ["env", "odd", "refuse", "echo"]


def listed(cursor: str) -> dict[str, Any]:
    names, following = PAGES.get(cursor, (LAST, None))
    about = {"description": f"Of process {os.getpid()}."} if "signed" in sys.argv else {}
    tools = [{"name": name, "inputSchema": {"type": "object"}} | about for name in names]
    return {"tools": tools} | ({"nextCursor": following} if following else {})


def spawn() -> str:
    """A daemon of its own session that no signal but SIGKILL ends, and that no longer has a parent."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    starter = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {code!r}], "
        "stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True); "
        "p.stdout.readline(); print(p.pid)"
    )
    return subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True).stdout.strip()


def call(name: str, arguments: dict[str, Any]) -> Any:
    if name == "freeze":
        time.sleep(600)
    if name == "die":
        print("it is over", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "flood":
        sys.stderr.write("noise " * 50_000 + "\n")
    if name == "chatter":
        print("not a message\n" * arguments["lines"], end="", flush=True)
    if name == "odd":
        image = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
        blob = {"uri": "file:///b", "blob": "AAA=", "mimeType": "application/zip"}
        link = {"type": "resource_link", "name": "r", "uri": "file:///r", "size": 9}
        return [
            {"type": "text", "text": "see"},
            image,
            {"type": "resource", "resource": {"uri": "file:///t", "text": "in full"}},
            {"type": "resource", "resource": blob},
            link,
        ]
    texts = {"pid": str(os.getpid()), "env": json.dumps(dict(os.environ)), "echo": json.dumps(arguments)}
    return [{"type": "text", "text": spawn() if name == "spawn" else texts.get(name, "done")}]


def answer(request: dict[str, Any]) -> dict[str, Any] | None:
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        about = {"name": "raw", "version": "1"}
        capabilities: dict[str, Any] = {"tools": {}}
        return {
            "result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": about}
        }
    if method == "tools/list":
        if "endless" in sys.argv:
            return {"result": {"tools": [], "nextCursor": "more"}}
        return {"result": listed(params.get("cursor") or "")}
    if method == "tools/call":
        if params["name"] == "hang":
            return None
        if params["name"] == "refuse":
            return {"error": {"code": -32602, "message": "not like this"}}
        return {"result": {"content": call(params["name"], params.get("arguments") or {})}}
    return {"error": {"code": -32601, "message": "Method not found"}}


def main() -> None:
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "noisy" in sys.argv:
        print("INFO starting\n\n{}\n[1, 2", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or "silent" in sys.argv:
            continue
        reply = answer(request)
        if reply is not None:
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"]} | reply), flush=True)
    while "stubborn" in sys.argv:
        time.sleep(600)


if __name__ == "__main__":
    main()
