"""What a run is: every setting of ``rollway eval`` and ``rollway rollout``, checked before anything starts.

A config is complete and holds no secret: written to ``config.yaml`` and read back it is equal, and API keys
are named by the environment variable that holds them.
"""

from rollway.evaluation.config.data import DataConfig
from rollway.evaluation.config.eval_config import EvalConfig
from rollway.evaluation.config.model import ModelConfig
from rollway.evaluation.config.tools import ApprovalConfig, SandboxConfig, ToolsConfig
from rollway.evaluation.config.validation import validate

__all__ = [
    "ApprovalConfig",
    "DataConfig",
    "EvalConfig",
    "ModelConfig",
    "SandboxConfig",
    "ToolsConfig",
    "validate",
]
