"""What a rollout has for itself, for the tools that ask for it by the type of a parameter.

The model never sees such a parameter. One object per rollout, used from the rollout's event loop and from
the threads of its sync tools.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, TypeVar

from rollway.tools.sandboxes.protocol import Sandbox

_T = TypeVar("_T")


class FromRollout(Enum):
    """Marks a parameter that the rollout fills in."""

    WORKSPACE = "workspace"


Workspace = Annotated[_T, FromRollout.WORKSPACE]
"""``board: Workspace[Board]`` is what the environment's ``setup`` returned (a ``Board`` to type checkers)."""


class Notes(dict[str, Any]):
    """A tool's own notes, kept from call to call of one rollout (``notes: Notes``)."""


@dataclass(slots=True)
class RolloutContext:
    """One rollout's own things (``context: RolloutContext`` for all of them)."""

    rollout_id: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    workspace: Any = None  # what the environment's `setup` returned
    sandbox: Sandbox | None = None  # ``sandbox: Sandbox``
    random: random.Random = field(default_factory=random.Random)  # ``rng: random.Random``; seeded per rollout
    notes: Notes = field(default_factory=Notes)
    tool_timeout: float | None = None  # seconds that the loop gives one call; None: no bound, or no loop
