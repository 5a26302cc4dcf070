"""What the playbooks of the HTTP path start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playbook import Origin


@pytest.fixture
def make_origin() -> Iterator[Callable[[], Origin]]:
    made: list[Origin] = []

    def make() -> Origin:
        made.append(Origin())
        return made[-1]

    yield make
    for origin in made:
        origin.close()


@pytest.fixture
def origin(make_origin: Callable[[], Origin]) -> Origin:
    return make_origin()
