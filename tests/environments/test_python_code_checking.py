"""What a solution can do to be taken for a right one: be one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rollway.environments.python_code.cases import parse_tests
from rollway.environments.python_code.checking import MAX_SOLUTION, check_asserts, check_cases, read_solution
from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxSpec, check_backend, open_sandbox

SUITE = parse_tests(
    """
from itertools import islice
assert double(2) == 4
assert double("ab") == "abab"
assert list(islice(double([1]), 5)) == [1, 1]
with raises(TypeError):
    double(None)
"""
)
RIGHT = "def double(x):\n    return x + x\n"

# HumanEval's form, with a task of our own
TASK = {
    "given": "from typing import List\n\n\ndef twice(x: List[int]) -> List[int]:\n    '''x two times.'''\n",
    "entry_point": "twice",
    "canonical_solution": "    return x + x  # needle-answer\n",
    "test": "def check(candidate):  # needle-test\n"
    "    assert candidate([1]) == [1, 1]\n    assert candidate([]) == []\n"
    "    assert candidate(x=[1, 2]) == [1, 2, 1, 2]\n",
}
TWICE = "def twice(x: List[int]) -> List[int]:\n    return x + x\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Behind walls: in local, hostile solutions would see, and reach, all that runs on the machine."""
    spec = SandboxSpec(backend="bubblewrap")
    try:
        check_backend(spec)
    except UserError as error:
        pytest.skip(str(error))
    opened = await open_sandbox(spec)
    yield opened
    await opened.close()


async def share(sandbox: Sandbox, code: str, timeout: float = 20) -> tuple[int, int]:
    verdict = await check_cases(sandbox, code, SUITE, timeout=timeout)
    return verdict.passed, verdict.cases


async def test_a_right_solution_passes_every_case(sandbox):
    assert await share(sandbox, RIGHT) == (4, 4)


async def test_a_partly_right_solution_passes_its_part_and_the_verdict_says_which_case_failed(sandbox):
    verdict = await check_cases(sandbox, "def double(x):\n    return x * 2\n", SUITE, timeout=20)
    assert (verdict.passed, verdict.cases) == (4, 4)  # the same, for these
    verdict = await check_cases(sandbox, "def double(x):\n    return 2 * int(x)\n", SUITE, timeout=20)
    assert verdict.passed == 2
    assert "double('ab')" in verdict.reason
    assert "ValueError" in verdict.reason


@pytest.mark.parametrize(
    "code",
    [
        "",
        "def double(x):\n",
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "print('passed')\nprint('{\"loaded\": true}\\n[4]\\n[\"abab\"]\\n[[1, 1]]')",
        "raise SystemExit(0)",
        "def double(x):\n    import os\n    os._exit(0)",
        "def double(x):\n    raise SystemExit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "class Yes:\n    def __eq__(self, other): return True\n    def __hash__(self): return 1\n"
        "def double(x): return Yes()",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef double(x): return Yes()",
        "class Yes(list):\n    def __eq__(self, other): return True\ndef double(x): return Yes()",
        "import builtins, json\njson.dumps = lambda v: '[true]'\nbuiltins.len = lambda x: 1\n"
        "def double(x): return True",
        "import sys\nsys.modules['json'] = None\ndef double(x): return None",
        "def double(x):\n    import sys\n    names = sys._getframe(1).f_globals\n"
        "    names['_value'] = names['_raised'] = lambda v: None\n",
        "def double(x):\n    import gc\n"
        "    [o.clear() for o in gc.get_objects() if type(o) is list and not o]",
        "import os\nfor fd in range(3, 20):\n"
        "    try: os.write(fd, b'[true]\\n' * 9)\n    except OSError: pass\n"
        "def double(x): return None",
        "import os\nos.closerange(0, 50)\ndef double(x): return x + x",
        "def double(x):\n    import os\n    for fd in range(3, 20):\n"
        '        try: os.write(fd, b\'[{"raised": ["TypeError"]}]\\n\')\n        except OSError: pass',
        "import sys\nsys.setrecursionlimit(10**6)\ndef double(x):\n    return double(x)",
        "def double(x):\n    y = []\n    y.append(y)\n    return y",
    ],
)
async def test_a_solution_that_does_not_solve_is_not_taken_for_one(sandbox, code):
    passed, cases = await share(sandbox, code, timeout=2)
    assert passed < cases
    assert passed <= 1  # where everything raises, the case that asks for it passes


async def test_a_flood_on_every_channel_is_a_wrong_answer_and_ends(sandbox):
    flood = "import os\nwhile True:\n    os.write({}, b'[4]\\n' * 4096)\n"
    for channel in (1, 3, 4):
        assert await share(sandbox, flood.format(channel), timeout=1) == (0, 4)


async def test_a_huge_value_is_a_wrong_answer(sandbox):
    assert await share(sandbox, "def double(x):\n    return list(range(10**6))\n") == (0, 4)
    assert await share(sandbox, "def double(x):\n    return 10**6000\n") == (0, 4)
    deep = "def double(x):\n    y = []\n    for _ in range(500):\n        y = [y]\n    return y\n"
    assert await share(sandbox, deep) == (0, 4)


async def test_a_solution_that_hangs_has_what_it_did_before_and_no_more(sandbox):
    code = (
        "def double(x):\n    if isinstance(x, str):\n        open('hangs', 'w').close()\n"
        "    while isinstance(x, str):\n        pass\n    return x + x\n"
    )
    for timeout in (3, 30):  # seconds; a slow machine may need some to come to the second case
        verdict = await check_cases(sandbox, code, SUITE, timeout=timeout)
        assert "out of time" in verdict.reason
        if (await sandbox.exec(["test", "-e", "hangs"])).exit_code == 0:
            break
    assert (verdict.passed, verdict.cases) == (1, 4)
    assert await share(sandbox, "while True: pass", timeout=1) == (0, 4)


async def test_files_in_the_workspace_do_not_reach_the_check(sandbox):
    trap = b"import os\nos._exit(0)\n"
    for name in ("json.py", "sitecustomize.py", "usercustomize.py", "types.py", "python3", "itertools.py"):
        await sandbox.write(name, trap, executable=True)
    await sandbox.write("test_solution.py", b"def test_it(): pass")
    assert await share(sandbox, RIGHT) == (4, 4)
    assert await share(sandbox, "def double(x): return 4") == (1, 4)


async def test_what_a_solution_prints_or_reads_is_no_answer(sandbox):
    chatty = "import sys\nprint('[99]')\ndef double(x):\n    print('[99]', flush=True)\n"
    assert await share(sandbox, chatty + "    return x + x\n") == (4, 4)
    assert await share(sandbox, "def double(x):\n    input()\n    return x + x\n") == (0, 4)


WATCHER = """
import glob, os, stat
open("ready", "w").close()
while True:
    for process in glob.glob("/proc/[0-9]*"):
        try:
            with open(process + "/cmdline", "rb") as words:
                if b"run_case" not in words.read():
                    continue
            for link in glob.glob(process + "/fd/*"):
                sink = os.open(link, os.O_WRONLY)
                if stat.S_ISFIFO(os.fstat(sink).st_mode):
                    os.write(sink, b'[4]\\n["abab"]\\n')
                    open("written" + os.path.basename(link), "w").close()
                os.close(sink)
        except OSError:
            pass
"""


async def test_a_process_that_outlives_the_rollout_cannot_answer_for_the_solution(sandbox):
    await sandbox.write("watch.py", WATCHER.encode())
    await sandbox.exec("python3 watch.py >/dev/null 2>&1 & while [ ! -e ready ]; do sleep 0.01; done")
    waits = "import os\ndef double(x):\n    while not os.path.exists('written4'):\n        pass\n"
    passed, cases = await share(sandbox, waits, timeout=60)
    assert passed < cases
    assert await sandbox.read("written4") == b""  # it did write where the answers go


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (MAX_SOLUTION + 1), "link", "folder", "pipe"])
async def test_a_solution_that_cannot_be_read_is_none(sandbox, content):
    match content:
        case "link":
            await sandbox.exec("ln -s /etc/hostname solution.py")
        case "folder":
            await sandbox.exec("mkdir solution.py")
        case "pipe":
            await sandbox.exec("mkfifo solution.py")
        case bytes():
            await sandbox.write("solution.py", content)
    async with asyncio.timeout(10):
        assert await read_solution(sandbox) is None


async def test_a_sandbox_that_is_gone_gives_no_verdict(sandbox):
    await sandbox.close()
    with pytest.raises(SandboxError):
        await read_solution(sandbox)
    with pytest.raises(SandboxError):
        await check_cases(sandbox, RIGHT, SUITE, timeout=5)
    with pytest.raises(SandboxError):
        await check_asserts(sandbox, TWICE, TASK, timeout=5)


async def asserts_pass(sandbox: Sandbox, code: str, timeout: float = 20) -> bool:
    return (await check_asserts(sandbox, code, TASK, timeout=timeout)).all_passed


async def test_asserts_pass_for_a_right_solution_with_and_without_what_was_given(sandbox):
    assert await asserts_pass(sandbox, TWICE)
    assert await asserts_pass(sandbox, TASK["given"] + TASK["canonical_solution"])


@pytest.mark.parametrize(
    "code",
    [
        "",
        "def twice(x",
        "def twice(x): return None",
        "def twice(x): return [1, 1]",
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "def twice(x):\n    import os\n    os._exit(0)",
        "class Yes(list):\n    def __eq__(self, other): return True\ndef twice(x): return Yes()",
        "def check(candidate): pass\ndef twice(x): return None",
        "import builtins\nbuiltins.AssertionError = Warning\ndef twice(x): return None",
        "def twice(x):\n    import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)",
        "def twice(x):\n    import os, signal\n    os.kill(os.getppid(), signal.SIGTERM)",
        "import os\nfor fd in range(3, 20):\n"
        "    try: os.write(fd, b'[[1, 1]]\\n' * 9)\n    except OSError: pass\n"
        "def twice(x): return None",
        "def twice(x):\n    import os\n    for fd in (0, 1, 2):\n"
        "        try: open('/proc/%d/fd/%d' % (os.getppid(), fd), 'w').write('0' * 32 + '\\n')\n"
        "        except OSError: pass",
        "def twice(x):\n    while True: pass",
        "import os\nwhile True:\n    os.write(3, b'x' * 4096)",
        "import os\nwhile True:\n    os.write(4, b'x' * 4096)",
    ],
)
async def test_asserts_do_not_pass_for_a_solution_that_does_not_solve(sandbox, code):
    assert not await asserts_pass(sandbox, code, timeout=2)


async def test_neither_the_tests_nor_the_token_are_in_the_process_of_the_solution(sandbox, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "needle-token")
    spy = (
        "import os, sys\n"
        "def twice(x):\n"
        "    with open('/proc/self/maps') as maps:\n"
        "        parts = [line.split()[:2] for line in maps if '[v' not in line]\n"
        "    with open('/proc/self/mem', 'rb') as memory, open('seen', 'wb') as seen:\n"
        "        seen.write(open('/proc/self/cmdline', 'rb').read() + str(os.environ).encode())\n"
        "        for place, kind in parts:\n"
        "            start, end = [int(number, 16) for number in place.split('-')]\n"
        "            if kind.startswith('rw'):\n"
        "                memory.seek(start)\n"
        "                seen.write(memory.read(end - start))\n"
        "    return x + x\n"
    )
    assert await asserts_pass(sandbox, spy)
    seen = await sandbox.read("seen")
    assert b"def twice" in seen
    assert b"needle-" not in seen
