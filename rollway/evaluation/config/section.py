"""What every section of a config is: fields that are known, of the type they say, and not changed later.

The invariant: a section that exists is valid, whether it was read from a file or made in Python. Records of
the engine are sections as they are: they are written down once, with their checks and defaults.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some fields of a config. In Python, too, a section within may be given as a dict.

    A check of its own in ``__post_init__`` calls this one first. Where it is about one field, its complaint
    begins with that field: ``"base_url must ..."``, or ``"limits.disk: ..."``.

    Raises:
        ValueError: a value is not what its field holds.
    """

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            try:
                value = msgspec.convert(getattr(self, field.name), field.type)
            except msgspec.ValidationError as error:
                raise ValueError(f"{field.name}: {error}") from None
            msgspec.structs.force_setattr(self, field.name, value)
