"""Shell scripts that list and search files inside a sandbox, and their output, read.

They need a POSIX ``sh``, ``find``, ``grep`` and ``stat`` (coreutils or busybox) and no Python. The first
thing each does is to see that the path, with every symbolic link followed, lies in the workspace.
"""

from __future__ import annotations

import re

from rollway.tools.builtin.edits import cut_line

LEFT_OUT = (".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".tox")
"""Folders that are named and not looked into."""

NO_SUCH_PATH, OUTSIDE, BAD_PATTERN = 90, 91, 92  # exit codes
MAX_FOUND = 5_000  # entries that a sandbox hands over
SHOWN_ENTRIES = 400
SHOWN_MATCHES = 200
SHOWN_CHARS = 300  # of a match

_INSIDE = f"""
root=$(readlink -f -- "$1")
here=$(readlink -f -- "$2") || exit {NO_SUCH_PATH}
[ -e "$here" ] || exit {NO_SUCH_PATH}
case "$root/" in //) ;; *) case "$here/" in "$root"/*) ;; *) exit {OUTSIDE} ;; esac ;; esac
"""

_PRUNED = " -o ".join(f"-name {name}" for name in LEFT_OUT)

LIST = f"""{_INSIDE}
find "$here" -mindepth 1 -maxdepth "$3" \\( -type d \\( {_PRUNED} \\) -prune -o -name '*' \\) \
    -exec stat -c '%f %s %n' {{}} + 2>/dev/null | head -n {MAX_FOUND}
[ -d "$here" ] || stat -c '%f %s %n' "$here"
printf '%s\\n' "= $here"
"""
"""Arguments: workspace, path, depth. Prints mode (hex), size and path of each entry, and the path itself."""

SEARCH = f"""{_INSIDE}
pattern=$3
option=-E
if printf x | grep -qP x 2>/dev/null; then option=-P
else pattern=$(printf '%s' "$pattern" | sed 's/\\\\d/[0-9]/g'); fi
printf '' | grep "$option" -e "$pattern" || [ $? -lt 2 ] || exit {BAD_PATTERN}
binary=
if printf x | grep -qI x 2>/dev/null; then binary=-I; fi
find "$here" -type d ! -path "$here" \\( {_PRUNED} \\) -prune -o -type f "$4" "$5" \
    -exec grep -nH $binary "$option" -e "$pattern" -- {{}} + 2>/dev/null | cut -b 1-4000 | head -n {MAX_FOUND}
printf '%s\\n' "= $here"
"""
"""Arguments: workspace, path, pattern, ``-name`` or ``-path``, glob. Prints ``path:line:text`` of each match,
and the path itself."""

_ENTRY = re.compile(r"([0-9a-f]+) (\d+) (.*)")
_MATCH = re.compile(r"(.*?):(\d+):(.*)")
_KIND, _FOLDER, _LINK = 0o170000, 0o040000, 0o120000  # of a file's mode


def glob_test(glob: str | None) -> tuple[str, str]:
    """The test of ``find`` for a glob: of the name, or of the path where it has a slash."""
    if not glob:
        return "-name", "*"
    if "/" not in glob:
        return "-name", glob
    return "-path", "*/" + glob.lstrip("/").replace("**/", "*").replace("**", "*")


def _split(output: bytes) -> tuple[list[str], str]:
    """The lines, and the path that was looked into."""
    lines = output.decode("utf-8", "replace").split("\n")
    while lines and not lines[-1].startswith("= "):
        lines.pop()
    base = lines.pop()[2:] if lines else ""
    return lines, base


def listing(output: bytes, path: str) -> str:
    """The output of `LIST`, sorted, as text for the model."""
    lines, base = _split(output)
    entries: list[tuple[str, str]] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            continue  # the rest of a name with a line break in it
        kind = int(entry[1], 16) & _KIND
        name = _relative(entry[3], base, path)
        if kind == _FOLDER:
            left_out = " (not listed)" if name.rpartition("/")[2] in LEFT_OUT else ""
            entries.append((name, f"{name}/{left_out}"))
        elif kind == _LINK:
            entries.append((name, f"{name} (link)"))
        else:
            entries.append((name, f"{name} ({_size(int(entry[2]))})"))
    if not entries:
        return f"[{path} is empty]"
    entries.sort(key=lambda entry: entry[0].split("/"))
    shown = [told for _, told in entries[:SHOWN_ENTRIES]]
    more = len(entries) - len(shown)
    if more:
        least = "at least " if len(lines) >= MAX_FOUND else ""
        shown.append(f"[{least}{more} more; list one of its folders, or use a smaller depth]")
    return "\n".join(shown)


def matches(output: bytes, path: str) -> str:
    """The output of `SEARCH`, as text for the model."""
    lines, base = _split(output)
    found: list[tuple[list[str], int, str]] = []
    for line in lines:
        match = _MATCH.fullmatch(line)
        if match is None or "\0" in line:
            continue
        name, number = _relative(match[1], base, path), int(match[2])
        found.append(
            (name.split("/"), number, f"{name}:{number}: {cut_line(match[3].rstrip(), SHOWN_CHARS)}")
        )
    if not found:
        return "[no match]"
    found.sort(key=lambda match: match[:2])
    shown = [told for *_, told in found[:SHOWN_MATCHES]]
    more = len(found) - len(shown)
    if more:
        least = "at least " if len(lines) >= MAX_FOUND else ""
        shown.append(f"[{least}{more} more; narrow the pattern, the path or the glob]")
    return "\n".join(shown)


def _relative(name: str, base: str, path: str) -> str:
    """A path as the model would write it: below the one it gave."""
    inside = name.removeprefix(base).lstrip("/")
    start = "" if path in (".", "./", "") else path.rstrip("/") + "/"
    return f"{start}{inside}" if inside else path


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
