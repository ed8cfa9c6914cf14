"""What the project has one of is spelled in one file."""

import re

import pytest

from tasks.settings import PROJECT

PLACES = {
    r"\bfcntl\b": "tasks/store/file_locks.py",
    r"\bcreate_engine\(": "tasks/store/database.py",
    r"\*\*\*\"": "tasks/shown.py",
    r"__file__\)\.resolve\(\)\.parent": "tasks/settings.py",
    r"\bretry_|\bretries\b\"?\s*[=:]": "tasks/steps/retries.py",
}


@pytest.mark.parametrize("pattern", PLACES)
def test_it_is_spelled_in_one_file(pattern: str) -> None:
    rooms = [PROJECT / name for name in ("tasks", "flows", "deployments")]
    files = [file for room in rooms for file in room.rglob("*.py")]
    found = {str(f.relative_to(PROJECT)) for f in files if re.search(pattern, f.read_text())}
    assert found == {PLACES[pattern]}
