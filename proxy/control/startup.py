"""What is looked at once before the program starts, each told in one sentence.

Nothing here keeps it from starting: what cannot be had is said, with what to do about it. Standard library only.
"""

from __future__ import annotations

ROOT = "agent and workers run as root: name a user without privileges with --user, or start as one"
