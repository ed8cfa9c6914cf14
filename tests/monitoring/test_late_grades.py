"""Published days are graded when their labels are final, however late that is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tasks.monitoring import live_days
from tasks.predictions import publish
from tasks.spec import days
from tasks.store import files
from tests.toy import toy

LAST = date(2026, 6, 30)


@pytest.mark.parametrize("delay", [1, 60, 200])
def test_days_are_graded_however_late_labels_are_final(delay: int, home: Path) -> None:
    """Each night publishes and forgets what is old; the labels of one day become final with it."""
    assert not home.exists()
    spec, folder = replace(toy, label_delay=days(delay)), publish.folder_of("toy")
    folder.mkdir(parents=True)
    nights = [LAST - timedelta(days=back) for back in reversed(range(delay + 100))]
    for as_of in nights:
        day = as_of + timedelta(days=1)
        record = {"as_of": str(as_of), "day": str(day), "version": "1"}
        (folder / f"{as_of}.json").write_text(json.dumps(record))
    publish.forget_old("toy", spec.label_delay)
    made = pd.DataFrame({"number": [1], "probability": [0.5]}).to_parquet()
    for left in folder.glob("*.json"):
        left.with_suffix(".parquet").write_bytes(made)
    known = dict.fromkeys(nights, "mark")
    found = live_days.ungraded(spec, LAST, known)
    final = LAST - spec.label_delay
    assert max(found) == final
    assert len(found) == live_days.MOST_DAYS
    files.write_json(
        live_days.live_folder("toy") / f"{final}.json", {"fingerprint": "mark", "version": "1"}
    )
    assert final not in live_days.ungraded(spec, LAST, known)
