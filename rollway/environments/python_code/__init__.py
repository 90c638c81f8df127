"""Programming tasks: a solution is written in a sandbox and held to hidden tests."""

from rollway.environments.python_code.checking import Verdict, check_solution
from rollway.environments.python_code.environment import PythonCodeEnvironment
from rollway.environments.python_code.task_files import SHIPPED, read_tasks

__all__ = ["SHIPPED", "PythonCodeEnvironment", "Verdict", "check_solution", "read_tasks"]
