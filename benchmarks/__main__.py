"""``make bench``: every benchmark in turn, on this machine, in one run.

``python -m benchmarks parsers server`` runs those alone; ``python -m benchmarks engine --help`` shows the
options of one. ``--full`` takes the sizes that published figures have, ``--write`` puts what is printed into
``docs/performance.md``. The machine is shared and noisy more often than not: compare the ratios within one
run, not figures of different runs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import time

from benchmarks.report import machine, write_report

BENCHMARKS = {
    "startup": False,
    "parsers": False,
    "pool": True,
    "sandboxes": False,
    "warm_pool": False,
    "token_mode": False,
    "server": False,
    "records": True,
    "memory": True,
    "engine": True,
    "peers": True,
    "soak": True,
}
"""Every benchmark in order, and whether it has options."""


class Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self, shown: io.TextIOBase) -> None:
        super().__init__()
        self._shown = shown

    def write(self, text: str) -> int:
        self._shown.write(text)
        self._shown.flush()
        return super().write(text)


def main(argv: list[str]) -> int:
    names = [word for word in argv if word in BENCHMARKS]
    options = [word for word in argv if word not in BENCHMARKS]
    if argv and argv[0] not in BENCHMARKS and not argv[0].startswith("-"):
        print(f"no benchmark {argv[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    write = "--write" in options
    options = [word for word in options if word != "--write"]
    print("\n".join(machine()))
    for name in names or BENCHMARKS:
        print(f"\n== {name} ==", flush=True)
        began = time.monotonic()
        with contextlib.redirect_stdout(Tee(sys.stdout)) as kept:  # type: ignore[arg-type]
            importlib.import_module(f"benchmarks.bench_{name}").main(options if BENCHMARKS[name] else [])
        if write and not write_report(name, kept.getvalue()):
            print(f"(docs/performance.md has no place for {name})", file=sys.stderr)
        print(f"({time.monotonic() - began:,.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
