"""An interpreter that keeps its variables, whatever the code does to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rollway.tools import ExecutedCall
from rollway.tools.builtin import python_tool
from rollway.trajectory import ToolErrorKind

Run = Callable[..., Awaitable[str]]
Execute = Callable[..., Awaitable[ExecutedCall]]
Patience = Callable[[], AbstractContextManager[None]]
SHORT = 0.4  # seconds, for code that hangs


@pytest.fixture
def py(call: Run) -> Run:
    tool = python_tool(timeout=100)

    async def run(code: str) -> str:
        return await call(tool, code=code)

    return run


async def test_variables_functions_and_imports_stay(py: Run) -> None:
    assert await py("import math\nx = 5\ndef f(n): return n * x") == "[no output]"
    assert await py("f(math.floor(2.5))") == "10"
    assert await py("print(_ + 1)\nx") == "11\n5"


SHOWN: list[tuple[str, str | None]] = [
    ("1 + 1", "2"),
    ("None", "[no output]"),
    ("", "[no output]"),
    ("# a comment", "[no output]"),
    ("x = 1; x", "1"),
    ("for i in range(2):\n    print(i)", "0\n1"),
    ("'ü 日本'", "'ü 日本'"),
    ("print('\\ud800')", "\\ud800"),
    ("import sys; print('out'); print('err', file=sys.stderr); print('out')", "out\nerr\nout"),
    (
        "import subprocess; r = subprocess.run('echo sub; echo err >&2', shell=True); r.returncode",
        "sub\nerr\n0",
    ),
    ("if __name__ == '__main__':\n    print('main')", "main"),
    ("def f(x: Later) -> None: ...", None),
    (
        "from __future__ import annotations\ndef f(x: Later) -> None: ...\nf.__annotations__['x']",
        "'Later'",
    ),
    (
        "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    os.wait(); print('parent')",
        "child\nparent",
    ),
    (
        "import multiprocessing as m\ndef f(x): return x * x\n"
        "with m.get_context('fork').Pool(2) as p: print(p.map(f, [1, 2]))",
        "[1, 4]",
    ),
]


async def test_what_is_shown(py: Run) -> None:
    for code, told in SHOWN:
        said = await py(code)
        assert said == told if told is not None else "NameError" in said, code


async def test_a_traceback_has_the_models_own_frames(py: Run) -> None:
    await py("def half(n):\n    return 1 / n")
    said = await py("x = 3\nhalf(0)")
    assert 'File "<cell 2>", line 2, in <module>\n    half(0)' in said
    assert 'File "<cell 1>", line 2, in half\n    return 1 / n' in said
    assert said.endswith("ZeroDivisionError: division by zero")
    assert "python_driver" not in said
    assert "<string>" not in said


async def test_a_traceback_marks_the_very_place(py: Run) -> None:
    said = await py("x = 3\nx / 0")
    assert "\n    x / 0\n    ~~^~~\n" in said or "^" not in said  # Python marks places from 3.11 on


async def test_a_traceback_leaves_out_frames_inside_libraries_but_the_last(py: Run) -> None:
    said = await py("import json\njson.loads('{')")
    assert said.count('File "') == 2
    assert "JSONDecodeError" in said


FAULTS = [
    ("1 +", "SyntaxError: invalid syntax"),
    ("  x = 1", "IndentationError: unexpected indent"),
    ("import sys; sys.exit(3)", "SystemExit: 3 (the interpreter continues)"),
    ("exit()", "SystemExit: None (the interpreter continues)"),
    ("input()", "EOFError: EOF when reading a line"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ("class A:\n    def __repr__(self): raise ValueError('no')\nA()", "ValueError: no"),
    (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "E: <exception str() failed>",
    ),
    ("import sys; sys.stdout = None; sys.stderr = 3; 1 / 0", "ZeroDivisionError: division by zero"),
    ("import sys; sys.stdout.close(); sys.stderr.close()", "[no output]"),
    ("x = 'a\0b'", "null bytes"),
]


async def test_faults_are_told_and_the_interpreter_goes_on(py: Run) -> None:
    await py("kept = 5")
    for code, told in FAULTS:
        said = await py(code)
        assert told in said, code
        if told.startswith(("SyntaxError", "Indentation")):
            assert said.startswith('  File "<cell '), code
        assert await py("print('shown'); kept") == "shown\n5", code


async def test_chained_exceptions_are_told_as_a_chain(py: Run) -> None:
    said = await py("try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError('worse') from e")
    assert said.index("ZeroDivisionError") < said.index("direct cause") < said.index("ValueError: worse")


async def test_an_endless_loop_is_killed_and_a_new_interpreter_begins(
    execute: Execute, py: Run, workspace: Path
) -> None:
    await py("x = 5")
    for timeout in (SHORT, 4.0, 30.0):  # until a slow machine has got to the loop
        code = "print('begun')\nopen('got', 'w').close()\nwhile True: pass"
        done = await execute(python_tool(timeout=timeout), code=code)
        if (workspace / "got").exists():
            break
    assert re.fullmatch(
        r"begun\n\[killed: the code did not finish within [\d.]+ s\. The next call starts a new interpreter; "
        r"variables and imports are gone\.\]",
        done.result.content,
    )
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.TOOL_REPORTED
    assert "NameError" in await py("x")


async def test_a_program_that_hangs_is_killed_and_the_variables_stay(
    call: Run, py: Run, patience: Patience
) -> None:
    await py("x = 5")
    code = "import subprocess; subprocess.run(['sleep', '300'])"
    with patience():
        said = await call(python_tool(timeout=SHORT), code=code)
    assert "variables are kept" in said
    assert await py("x") == "5"


async def test_code_that_ends_the_interpreter_is_told_so(py: Run) -> None:
    said = await py("import os; print('last', flush=True); os._exit(4)")
    assert said.startswith("last\n[the code ended the interpreter with exit code 4. The next call starts")
    assert await py("1") == "1"


async def test_threads_go_on_and_their_output_comes_later(py: Run, workspace: Path) -> None:
    code = (
        "import threading, time, pathlib\ngo = threading.Event()\n"
        "def late(): go.wait(); print('late'); pathlib.Path('done').touch()\n"
        "threading.Thread(target=late).start()"
    )
    assert await py(code) == "[no output]"
    assert (
        await py("go.set()\nwhile not pathlib.Path('done').exists(): time.sleep(0.01)\n'now'")
        == "late\n'now'"
    )


async def test_huge_output_is_cut_in_the_middle_and_endless_output_stopped(call: Run) -> None:
    tool = python_tool(timeout=100, max_chars=1000)
    said = await call(tool, code="print('a' + 'x' * 10**7 + 'b')")
    assert len(said) < 1100
    assert said[0] == "a"
    assert said[-1] == "b"
    assert "wrote too much output" in await call(tool, code="while True: print('x' * 10**6)")


async def test_calls_of_one_turn_run_one_after_the_other(py: Run) -> None:
    await py("n = 0\nimport time")
    told = await asyncio.gather(*(py("time.sleep(0.02); n += 1\nn") for _ in range(3)))
    assert told == ["1", "2", "3"]


async def test_the_code_works_in_the_workspace_and_imports_from_it(py: Run, workspace: Path) -> None:
    (workspace / "mine.py").write_text("value = 7\n")
    assert await py("import mine; mine.value") == "7"
    await py("open('out.txt', 'w').write('x')")
    assert (workspace / "out.txt").read_text() == "x"
    assert await py("import os; sorted({*os.listdir()} - {'__pycache__'})") == "['mine.py', 'out.txt']"


async def test_a_missing_interpreter_is_told(call: Run) -> None:
    said = await call(python_tool(interpreter="no-such-python"), code="1")
    assert "no-such-python" in said
