"""``rollway serve``: the embedded policy behind an HTTP server in the shape of vLLM's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PORT = 8000


def serve(
    policy: Annotated[
        str, typer.Argument(help="calculator, calculator-weak, or a folder with a Qwen3 model.")
    ] = "calculator",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = DEFAULT_PORT,
    name: Annotated[str, typer.Option(help="Model name; the policy's own when empty.")] = "",
    max_concurrency: Annotated[int, typer.Option(min=1, help="Sequences in flight; more wait.")] = 128,
    max_model_len: Annotated[int, typer.Option(min=0, help="Context in tokens; 0 for the model's.")] = 0,
    tool_parser: Annotated[str, typer.Option(help="Format in which tool calls are read.")] = "hermes",
    no_tool_parser: Annotated[
        bool, typer.Option("--no-tool-parser", help="Leave calls in the text.")
    ] = False,
    reasoning_parser: Annotated[str, typer.Option(help="Format in which thoughts are read.")] = "qwen3",
    no_reasoning_parser: Annotated[
        bool, typer.Option("--no-reasoning-parser", help="Leave thoughts in the text.")
    ] = False,
    no_prefix_cache: Annotated[
        bool, typer.Option("--no-prefix-cache", help="Compute every prompt from its start.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write the base URL here once requests are answered.")
    ] = None,
    parent_pid: Annotated[
        int | None, typer.Option(help="End when this parent process ends.", hidden=True)
    ] = None,
) -> None:
    """Serve the embedded policy (or any small Qwen3 folder) on the CPU, without torch.

    Example: rollway serve calculator --port 8000
    """
    import asyncio

    from rollway.embedded.policy import find_policy, load_policy
    from rollway.embedded.server.app import ServerOptions, serve_until_stopped, write_ready_file

    folder = find_policy(policy)
    loaded = load_policy(folder, name=name or None)
    options = ServerOptions(
        host=host,
        port=port,
        max_concurrency=max_concurrency,
        max_model_len=max_model_len or None,
        tool_parser=None if no_tool_parser else tool_parser,
        reasoning_parser=None if no_reasoning_parser else reasoning_parser,
        prefix_tokens=0 if no_prefix_cache else None,
    )

    def say_ready(base_url: str) -> None:
        if ready_file is not None:
            write_ready_file(ready_file, base_url)
        print(f"serving {loaded.name} at {base_url}", flush=True)

    asyncio.run(serve_until_stopped(loaded, options, on_ready=say_ready, parent=parent_pid))
