"""The page of what is in a model's data."""

from __future__ import annotations

import dataclasses
import re
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skrub import TableReport

from tasks.scaffold.data_page import columns_shown, mark_columns, write_data_page
from tasks.sources import ParquetDays
from tests.nights import nth_day
from tests.toy import make_day, toy


class NoPlots(TableReport):  # type: ignore[misc]
    """The report without its plots, which take most of its time."""

    def __init__(self, rows: pd.DataFrame, **options: object) -> None:
        super().__init__(rows, **{**options, "plot_distributions": False})


def orders(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(3)
    returned = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "order": [f"order {n}" for n in range(rows)],
            "refund": returned * 10.0 + random.normal(0, 0.1, rows),
            "size": np.where(random.random(rows) < 0.2, np.nan, random.random(rows)),
            "shop": "only one",
            "returned": returned,
        }
    )


def test_leaks_ids_constants_and_gaps_are_marked_with_the_reason() -> None:
    marks = mark_columns(orders(), "returned", None)
    assert set(marks["Suspected leaks"]) == {"refund"}
    assert "nearly predicts the target (AUC 1.00)" in marks["Suspected leaks"]["refund"]
    assert set(marks["Ids"]) == {"order"}
    assert set(marks["Constant or unreadable"]) == {"shop"}
    assert marks["Gaps"] == {"size": f"{orders()['size'].isna().mean():.0%} missing"}
    assert "Suspected leaks" not in mark_columns(
        orders().drop(columns="returned"), "returned", None
    )
    assert "Suspected leaks" not in mark_columns(orders().assign(returned=1), "returned", None)


def test_of_a_wide_table_the_marked_columns_and_the_first_are_described() -> None:
    wide = pd.DataFrame(0, index=[0], columns=[f"c{n}" for n in range(3_000)])
    shown = columns_shown(wide, {"Gaps": {"c2999": "5% missing", "gone": "90% missing"}})
    assert shown == [*(f"c{n}" for n in range(199)), "c2999"]


def test_the_page_shows_raw_and_clean_rows_and_runs_nothing_of_the_data(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    for number in (1, 2, 3):
        rows = make_day(nth_day(number), 4000)
        rows["note <script>"] = np.where(rows["bought"] == 1, "<img src=x>", None)
        rows.to_parquet(folder / f"{nth_day(number)}.parquet", index=False)
    monkeypatch.setattr("skrub.TableReport", NoPlots)
    spec = dataclasses.replace(
        toy,
        source=ParquetDays(str(folder)),
        clean=lambda rows: rows.rename(columns={"size": "height"}),
        known_ahead=("number", "height", "shop"),
    )
    place = write_data_page(spec, nth_day(3), ["Look at <b>number</b>."])
    assert place == home / "reports" / "toy" / "data.html"
    assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0
    html = place.read_text()
    assert "<h2>Raw rows: 5,000 of 12,000</h2>" in html and "<h2>Clean rows: 5,000 of" in html
    assert "Suspected leaks (1)" in html and "Gaps: note &lt;script&gt;" in html
    assert "Look at &lt;b&gt;number&lt;/b&gt;." in html
    assert "<img" not in html and "note <script>" not in html
    assert not re.search(r'src="http|<link', html), "nothing is loaded from elsewhere"
    broken = dataclasses.replace(spec, clean=lambda rows: rows["no such column"])
    assert "There are no clean rows to show" in write_data_page(broken, nth_day(3)).read_text()
