"""``make bench``: every benchmark in turn, on this machine, in one run.

``python -m benchmarks parsers server`` runs those alone. The machine is shared and noisy more often than
not: compare the ratios within one run, not figures of different runs.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys

BENCHMARKS = ("startup", "parsers", "pool", "token_mode", "server")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for name in names or BENCHMARKS:
        print(f"\n== {name} ==", flush=True)
        importlib.import_module(f"benchmarks.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
