"""Without Chromium its tests are skipped in one line, and fail where nothing may be skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import HOW, REQUIRED, find_chromium
from tests.nights import PROJECT


def test_chromium_is_found_where_it_is_installed(tmp_path: Path) -> None:
    command = tmp_path / "chromium"
    command.touch(mode=0o700)
    assert find_chromium({"PATH": str(tmp_path)}) == str(command)
    assert find_chromium({"PATH": str(tmp_path), REQUIRED: "1"}) == str(command)


def test_without_chromium_its_tests_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception) as said:
        find_chromium({"PATH": str(tmp_path)})
    assert str(said.value) == HOW
    assert "apt-get install chromium" in HOW
    assert "\n" not in HOW


def test_without_chromium_they_fail_where_nothing_may_be_skipped(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_chromium({"PATH": str(tmp_path), REQUIRED: "1"})


def test_nothing_may_be_skipped_by_the_machine_that_checks_every_change() -> None:
    assert f"export {REQUIRED}=1\n" in (PROJECT / ".ci" / "run").read_text()
