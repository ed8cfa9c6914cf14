"""The steps of a fleet that are not seen in a whole night."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.promotion.checks import Status
from tasks.registry.client import OutageError
from tasks.steps import fleet

PASSED = SimpleNamespace(verdict=SimpleNamespace(status=Status.PROMOTED))


@pytest.mark.parametrize("outages", [1, 2])
def test_versions_are_checked_again_where_the_registry_was_out(
    monkeypatch: pytest.MonkeyPatch, outages: int
) -> None:
    """With one pause: an outage that lasts longer is the reason that each partition is told."""
    asked: list[int] = []

    def check(made: Any) -> list[Any]:
        asked.append(len(made))
        if len(asked) <= outages:
            raise OutageError("The MLflow server does not answer")
        return [PASSED] * len(made)

    monkeypatch.setattr(fleet, "PAUSES", (0.0,))
    monkeypatch.setattr(fleet, "check_versions", check)
    found = fleet._checked([SimpleNamespace()] * 3)  # type: ignore[list-item]
    assert asked == [3, 3]
    if outages == 1:
        assert found == [PASSED] * 3
    else:
        assert list(map(str, found)) == ["The MLflow server does not answer"] * 3
