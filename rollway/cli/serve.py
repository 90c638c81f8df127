"""``rollway serve``: the embedded policy on an HTTP server with vLLM's API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PORT = 8000


def serve(
    policy: Annotated[
        str, typer.Argument(help="Policy: calculator, calculator-weak, or a folder with a Qwen3 model.")
    ] = "calculator",
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 for any free port.")
    ] = DEFAULT_PORT,
    name: Annotated[
        str, typer.Option(metavar="NAME", show_default=False, help="Model name. [default: the policy's own]")
    ] = "",
    max_concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Limit on sequences in flight; others wait.")
    ] = 128,
    max_model_len: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Limit on the context, in tokens; 0 for the model's own limit."
        ),
    ] = 0,
    tool_parser: Annotated[str, typer.Option(metavar="FORMAT", help="Format of tool calls.")] = "hermes",
    no_tool_parser: Annotated[
        bool, typer.Option("--no-tool-parser", help="Leave tool calls in the text.")
    ] = False,
    reasoning_parser: Annotated[str, typer.Option(metavar="FORMAT", help="Format of reasoning.")] = "qwen3",
    no_reasoning_parser: Annotated[
        bool, typer.Option("--no-reasoning-parser", help="Leave reasoning in the text.")
    ] = False,
    no_prefix_cache: Annotated[
        bool, typer.Option("--no-prefix-cache", help="Disable the prefix cache.")
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the base URL to this file once the server is ready."),
    ] = None,
    parent_pid: Annotated[
        int | None, typer.Option(help="Exit when this parent process exits.", hidden=True)
    ] = None,
) -> None:
    """Serve the embedded policy, or a folder with a small Qwen3 model, on the CPU without torch.

    The server speaks vLLM's HTTP API.

    \b
    Examples:
      rollway serve calculator --port 8000
      rollway serve path/to/model --host 0.0.0.0 --max-concurrency 32
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
