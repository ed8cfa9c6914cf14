"""The audit of the lock: holes end it with 1, and a list that does not answer is no good news."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nights import PROJECT

WHOLE = {"name": "one", "version": "1.0", "vulns": []}
HOLE = {"name": "two", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "three", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([WHOLE], 0, "no known hole in 1 packages"),
        ([WHOLE, HOLE], 1, "two 2.0: CVE-1, mended in 2.1"),
        ([WHOLE, SKIPPED], 0, "not run for 1 of 2 packages"),
        ([HOLE, SKIPPED], 1, "CVE-1"),
        (None, 0, "not run: no connection"),
    ],
)
def test_an_audit_says_what_it_knows(
    packages: list[dict[str, Any]] | None, code: int, said: str, tmp_path: Path
) -> None:
    report = json.dumps({"dependencies": packages})
    write = f"open(sys.argv[sys.argv.index('-o') + 1], 'w').write({report!r})"
    fake = tmp_path / "fake.py"
    fake.write_text("import sys\n" + (write if packages else "print('no connection')"))
    ended = subprocess.run(
        [PROJECT / ".ci" / "audit", sys.executable, fake],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, said in ended.stdout) == (code, True), ended.stdout + ended.stderr
    if packages and SKIPPED in packages:
        assert "no known hole" not in ended.stdout
