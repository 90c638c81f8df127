"""Finding environments by name, file and module; one helpful line when there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from rollway import Environment
from rollway.environments.loading import (
    absolute_spec,
    environment_source,
    list_environments,
    load_environment,
    spec_of,
)
from rollway.errors import UserError

HEAD = "from rollway import Environment\n"
ONE = HEAD + "class One(Environment):\n    def __init__(self, size=1):\n        self.size = size\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "env.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def complaint(spec: str, **arguments: object) -> str:
    with pytest.raises(UserError) as error:
        load_environment(spec, arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_shipped_environment_goes_by_name() -> None:
    assert "calculator" in list_environments()
    assert load_environment("calculator", {"form_weight": 0.1}).name == "calculator"


def test_a_file_with_one_environment_needs_no_class(write) -> None:
    environment = load_environment(write(ONE), {"size": 3})
    assert (type(environment).__name__, environment.size) == ("One", 3)


def test_a_base_class_is_not_meant_when_a_class_inherits_from_it(write) -> None:
    file = write(ONE + "class Two(One):\n    pass\n")
    assert type(load_environment(file)).__name__ == "Two"
    assert type(load_environment(f"{file}:One")).__name__ == "One"


def test_an_object_wins_over_its_class(write) -> None:
    assert load_environment(write(ONE + "environment = One(size=9)\n")).size == 9


def test_an_imported_environment_is_not_the_files_own(write) -> None:
    file = write("from rollway.environments.calculator import CalculatorEnvironment\n" + ONE)
    assert type(load_environment(file)).__name__ == "One"


def test_a_module_is_named_with_its_class() -> None:
    spec = "rollway.environments.calculator:CalculatorEnvironment"
    assert load_environment(spec).name == "calculator"


def test_a_file_may_import_its_neighbours(write) -> None:
    write("SIZE = 5\n", "neighbour_of_env.py")
    text = HEAD + "import neighbour_of_env\nclass One(Environment):\n    size = neighbour_of_env.SIZE\n"
    assert load_environment(write(text)).size == 5


def test_an_edited_file_is_read_anew(write) -> None:
    assert load_environment(write(ONE)).size == 1
    assert load_environment(write(ONE.replace("size=1", "size=2"))).size == 2


def test_a_machine_without_the_file_uses_its_text(write, tmp_path: Path) -> None:
    file = write(ONE)
    source = environment_source(file)
    (tmp_path / "env.py").unlink()
    assert load_environment(file, source=source).size == 1
    assert environment_source("calculator") is None


def test_a_spec_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_spec("a/env.py:One") == f"{tmp_path}/a/env.py:One"
    assert absolute_spec("calculator") == "calculator"


def test_unknown_names() -> None:
    assert complaint("calclator").startswith(
        "no environment named 'calclator' (did you mean 'calculator'?); available: "
    )
    assert "no file nowhere.py" in complaint("nowhere.py")
    assert "no module 'no_such_package'" in complaint("no_such_package.envs:One")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "env.py has no Environment; define a subclass of rollway.Environment"),
        (
            "import no_such_module\n",
            "env.py, line 1: the file cannot be imported: ModuleNotFoundError: No module named",
        ),
        ("\n\ndef f(:\n", "env.py, line 3: the file cannot be imported: SyntaxError: invalid syntax"),
        (
            "def f():\n    return 1 / 0\nf()\n",
            "env.py, line 2: the file cannot be imported: ZeroDivisionError",
        ),
        ("raise SystemExit(3)\n", "env.py, line 1: the file cannot be imported: SystemExit: 3"),
        (ONE + "class Other(Environment): pass\n", "has several environments (One, Other); name one, as in "),
        (HEAD + "class E(Environment):\n    def __init__(self):\n        raise KeyError('q')\n", "line 4: "),
    ],
)
def test_a_file_that_is_no_use_says_why_and_where(write, text: str, expected: str) -> None:
    assert expected in complaint(write(text))


def test_what_a_class_says_to_its_user_is_said_as_it_is(write) -> None:
    text = "from rollway.errors import UserError\n" + HEAD
    text += "class E(Environment):\n    def __init__(self):\n        raise UserError('install git')\n"
    assert complaint(write(text)) == "install git"


def test_a_class_that_is_not_there_names_the_nearest(write) -> None:
    assert "'Onne' does not exist (did you mean 'One'?); it has: One" in complaint(write(ONE) + ":Onne")
    assert "'Environment' is not an Environment" in complaint(write(ONE) + ":Environment")


def test_wrong_arguments_name_the_right_ones(write) -> None:
    assert "unexpected keyword argument 'sise'; environment_args may hold: size" in complaint(
        write(ONE), sise=3
    )
    assert "require a class" in complaint(write(ONE + "environment = One()\n"), size=3)


def test_a_class_is_named_by_its_file(write) -> None:
    file = write(ONE + "\n\nlarge = One(size=3)\n")
    large = load_environment(f"{file}:large")
    assert spec_of(large) == f"{file}:large"
    assert spec_of(type(large)) == f"{file}:One"


def test_a_class_in_a_package_is_named_by_its_module() -> None:
    from rollway.environments.calculator.environment import CalculatorEnvironment

    assert (
        spec_of(CalculatorEnvironment) == "rollway.environments.calculator.environment:CalculatorEnvironment"
    )


def test_a_class_of_a_notebook_is_named_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    cell = type("Cell", (Environment,), {"__module__": "__main__"})
    main.Cell = cell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert spec_of(cell) == "__main__:Cell"
    assert type(load_environment("__main__:Cell")) is cell


def test_an_object_that_no_variable_holds_says_so(write) -> None:
    one = load_environment(write(ONE))
    with pytest.raises(UserError, match="an object of One is in no variable of its module"):
        spec_of(one)
