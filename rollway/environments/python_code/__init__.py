"""Programming tasks: a solution is written in a sandbox and held to hidden tests."""

from rollway.environments.python_code.environment import PythonCodeEnvironment

__all__ = ["PythonCodeEnvironment"]
