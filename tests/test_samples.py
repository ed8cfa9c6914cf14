"""Long tests are skipped where a person waits and run where nothing may be skipped."""

from __future__ import annotations

import pytest

from tests.samples import LATER, skip_long


@pytest.mark.long
def test_a_long_one_runs_only_where_all_are_asked_for(request: pytest.FixtureRequest) -> None:
    skip_long(request.node, everything=True)
    with pytest.raises(pytest.skip.Exception, match=LATER):
        skip_long(request.node, everything=False)


def test_any_other_runs_everywhere(request: pytest.FixtureRequest) -> None:
    skip_long(request.node, everything=True)
    skip_long(request.node, everything=False)
