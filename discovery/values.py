"""What all values are made of: those of discovery/model.py, policies.py, checks.py and config.py."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec


# Type checkers take frozen and keyword-only for granted in every subclass, as msgspec does.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all values: immutable, compared by content, defaults left out on the wire."""
