"""A table may call its columns what it likes: they reach the published predictions unchanged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
import sqlalchemy as sql
from sklearn.linear_model import LinearRegression

from tasks.errors import SpecError
from tasks.features.contract import accept_rows
from tasks.features.examples import build_examples, day_and_history
from tasks.features.scoring import answer_ahead, clean_rows
from tasks.predictions.publish import stamped
from tasks.predictions.sql_table import replace_table
from tasks.problems import Recommendation, Regression
from tasks.sources import CsvDays, DataFrameDays, ParquetDays, Source, SqlDays
from tasks.spec import ModelSpec, days
from tests.samples import in_part

FIRST = date(2026, 11, 20)
DAYS = [FIRST + timedelta(days=offset) for offset in range(2)]
OURS = [
    *("day", "target", "score", "version", "place", "as_of", "relevant", "made_at", "kind"),
    *("source_rows", "nightly_day", "reason", "row", "key 0", "champion score", "prediction"),
]
"""Names that mean something in this project; a table may have them as well."""
PUBLISHED = ("score", "version", "as_of", "made_at")


def table() -> pd.DataFrame:
    rows = 12
    moments = [pd.Timestamp(DAYS[n % 2]) + pd.Timedelta(hours=n) for n in range(rows)]
    made = {"at": sorted(moments), "id": [f"a{n}" for n in range(rows)]}
    made |= {name: np.arange(rows) * (place + 2) + 40 for place, name in enumerate(OURS)}
    return pd.DataFrame(made).assign(y=lambda found: found["score"] * 2.0 + found["day"])


def parquet(folder: Path) -> Source:
    table().to_parquet(folder / "t.parquet", index=False)
    return ParquetDays(str(folder / "t.parquet"), time="at")


def csv(folder: Path) -> Source:
    table().to_csv(folder / "t.csv", index=False)
    return CsvDays(str(folder / "t.csv"), time="at")


def by_day(folder: Path) -> Source:
    (folder / "days").mkdir()
    for day, rows in table().groupby(table()["at"].dt.date):
        rows.to_csv(folder / "days" / f"{day}.csv", index=False)
    return CsvDays(str(folder / "days"))


def sqlite(folder: Path) -> Source:
    rows = table().assign(at=lambda found: found["at"].astype("str"))
    with sqlite3.connect(folder / "t.db") as connection:
        names = ", ".join(f'"{name}"' for name in rows)
        connection.execute(f"CREATE TABLE t ({names})")
        marks = ", ".join("?" * len(rows.columns))
        values = [tuple(row) for row in rows.astype(object).to_numpy().tolist()]
        connection.executemany(f"INSERT INTO t VALUES ({marks})", values)
    connection.close()
    return SqlDays(f"sqlite:///{folder}/t.db", table="t", time="at")


def frames(_: Path) -> Source:
    made = dict(iter(table().groupby(table()["at"].dt.date)))
    return DataFrameDays(read=made.__getitem__, days=lambda _: [*made])


def spec_of(source: Source, key: str = "id") -> ModelSpec:
    raw = {name: "day_" if name == "day" else name for name in OURS}
    columns = {name: pa.Column(int) for name in raw.values()}
    schema = pa.DataFrameSchema({"id": pa.Column(str), "y": pa.Column(float), **columns})

    class Contract(pa.DataFrameModel):
        @classmethod
        def to_schema(cls) -> pa.DataFrameSchema:
            return schema

    def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        del history
        return day[[*raw.values()]].add_prefix("of ")

    return ModelSpec(
        name="names", question="Do names matter?", source=source, contract=Contract,
        problem=Regression(target="y", metric="mean_absolute_error", key=(key,)),
        known_ahead=("id", *raw.values()), features=features, lookback=days(1),
        requests=lambda as_of: source.read_days([as_of]).drop(columns=["day", "y"]),
        candidates={"constant": LinearRegression(), "linear": LinearRegression()},
    )  # fmt: skip


def publish(spec: ModelSpec, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the app's table holds for the last day, and the clean rows it was made of."""
    raw = spec.source.read_days([*spec.source.list_days(date.max)])
    accepted = accept_rows(raw, spec.contract)
    assert not len(accepted.quarantine)
    clean = clean_rows(spec, accepted.rows)
    examples = build_examples(spec, *day_and_history(spec, clean, DAYS[1]))
    inputs = spec.problem.inputs(examples)
    estimator = LinearRegression().fit(inputs, examples["target"])
    named = spec.requests(DAYS[1]) if spec.requests else None
    stamp = pd.Timestamp(DAYS[1]) + pd.Timedelta(days=1)
    made, _ = answer_ahead(spec, estimator, clean, named, stamp, keep=100)
    rows = stamped(made, stamp.date(), "7", datetime(2026, 11, 22, tzinfo=UTC))
    url = f"sqlite:///{folder}/app.db"
    replace_table(url, "names_predictions", rows, ["day", *spec.problem.answer_keys])
    engine = sql.create_engine(url, poolclass=sql.NullPool)
    with engine.connect() as connection:
        found = pd.read_sql(sql.text("SELECT * FROM names_predictions"), connection)
    return found, clean[clean["day"] == pd.Timestamp(DAYS[1])]


@pytest.mark.parametrize("make", [parquet, csv, by_day, sqlite, frames])
def test_names_of_a_table_go_through_every_source_to_the_app(
    make: Callable[[Path], Source], tmp_path: Path
) -> None:
    source = make(tmp_path)
    raw = source.read_days([*source.list_days(date.max)])
    for name in OURS:
        assert raw["day_" if name == "day" else name].tolist() == table()[name].tolist()
    found, clean = publish(spec_of(source), tmp_path)
    assert found["id"].tolist() == clean["id"].tolist()
    np.testing.assert_allclose(found["prediction"], clean["y"])
    assert set(found["version"]) == {"7"}


def test_names_of_a_postgresql_table_reach_the_contract(postgres: str) -> None:
    engine = sql.create_engine(postgres, poolclass=sql.NullPool)
    with engine.begin() as connection:
        table().to_sql("t", connection, index=False)
    source = SqlDays(postgres, table="t", time="at")
    raw = source.read_days([*source.list_days(date.max)])
    for name in OURS:
        assert raw["day_" if name == "day" else name].tolist() == table()[name].tolist()


@pytest.mark.parametrize("key", in_part(["day_" if name == "day" else name for name in OURS]))
def test_a_key_of_any_name_is_published_or_refused_with_a_way_to_rename_it(
    key: str, tmp_path: Path
) -> None:
    source = frames(tmp_path)
    taken = {"as_of", "version", "made_at", "target", "prediction"}
    if key in taken:
        with pytest.raises(SpecError, match=rf"key: found '{key}'.*'own_{key}'"):
            spec_of(source, key)
        return
    spec = spec_of(source, key)
    found, clean = publish(spec, tmp_path)
    assert found[key].tolist() == clean[key].tolist()
    answered = {name: found.rename(columns={}) for name in ("champion", "previous")}
    answered = {name: rows.assign(day=DAYS[1]) for name, rows in answered.items()}
    examples, scores, counts = spec.problem.match(answered, clean)
    assert counts["labelled"] == len(clean)
    np.testing.assert_allclose(scores["champion"], examples["target"])


@pytest.mark.parametrize("name", ["version", "as_of", "made_at", "place", "score", "kind", "day"])
def test_a_user_or_item_that_would_clash_is_refused(name: str) -> None:
    problem = Recommendation(user=name, item="film", baseline="count")
    assert any(name in fault for fault in problem.faults())


def test_a_row_keeps_its_own_reason_in_the_quarantine() -> None:
    class Contract(pa.DataFrameModel):
        n: int = pa.Field(ge=0)

    raw = pd.DataFrame({"day": [pd.Timestamp(FIRST)], "n": [-1], "reason": ["late"]})
    found = accept_rows(raw.astype({"day": "datetime64[s]"}), Contract).quarantine
    assert found["reason_"].tolist() == ["late"]
    assert found["reason"].str.contains("is not at least 0").all()
