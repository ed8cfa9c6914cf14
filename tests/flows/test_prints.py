"""What a model's code prints breaks nothing that reads the command's answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import nights
from tests.nights import nth_day, run_command, write_model, write_more

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]


@pytest.mark.long
def test_a_loud_model_is_promoted_and_its_report_is_json(
    registry_home: Path, tmp_path: Path
) -> None:
    write_more(tmp_path / "days", 1, 40)
    loud = "import os\n\nprint('imported')\nos.write(1, b'from compiled code')\n"
    model = write_model(
        tmp_path / "toy.py",
        tmp_path / "days",
        ("import os\n", loud),
        ("    usual = history", "    print('features')\n    usual = history"),
    )
    ended = run_command(registry_home, model, "--as-of", str(nth_day(40)), "--json")
    assert ended.report["verdict"] == "PROMOTED", ended.err
    assert not (registry_home / "mlflow.db-wal").exists(), "the registry is whole in its one file"
    assert "imported" in ended.err
