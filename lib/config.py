"""The base of every configuration, and how a wrong name is refused.

A configuration is frozen, typed strictly and knows no other fields. What identifies a run
is what differs from the defaults, so that a field added later leaves the keys of old
records as they were; a default that changes has to raise its component's version
(tests/test_fingerprints.py pins the defaults of each).
"""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Config(BaseModel):
    """Frozen, strict types, finite numbers, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON data."""
        return self.model_dump(mode="json", exclude_defaults=True)


def as_tuple(value: Any) -> Any:
    """Lists, which YAML, JSON and notebooks have, as the tuples that frozen objects need."""
    return tuple(value) if isinstance(value, list) else value


Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(as_tuple)]


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """How an unknown name is refused: with the nearest known one, and all there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f", did you mean {near[0]}?" if near else ":"
    return f"unknown {what} {name[:200]!r}{meant} choose one of {', '.join(known)}"
