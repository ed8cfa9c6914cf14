"""The start: what it writes runs at once, and every mistake gets one message."""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from deployments import new_model
from tasks.features.contract import accept_rows
from tasks.features.examples import build_examples, day_and_history
from tasks.features.split import split_days
from tasks.sources import CsvDays
from tasks.spec import ModelSpec
from tasks.spec.loading import load_spec
from tasks.training import fit
from tests.nights import PROJECT
from tests.samples import in_part
from tests.tables import NASTY, demand, orders, ratings, weather, write_daily

NOW = datetime(2027, 6, 1, tzinfo=UTC)
RUFF = Path(sys.executable).with_name("ruff")


def make(*arguments: str, out: Path) -> tuple[Any, str]:
    asked = new_model.new_model_parser().parse_args([*arguments, "--out", str(out)])
    plan, text, place = new_model.make(asked, NOW)
    new_model.write_whole(place, text)
    return plan, text


def tidy(text: str, tmp_path: Path) -> str:
    """What the formatter and the linter would change or say; nothing, if all is well."""
    file = tmp_path / "tidy.py"
    file.write_text(text)
    config = f"--config={PROJECT / 'pyproject.toml'}"
    said = ""
    for command in (["format", "--diff"], ["check", "-q"]):
        ended = subprocess.run(
            [RUFF, *command, "--no-cache", config, file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said += ended.stdout
    return said


def rehearse(spec: ModelSpec) -> pd.DataFrame:
    """Examples of a few days through contract, cleaning and features; every candidate fits them."""
    listed = list(spec.source.list_days(NOW.date()))
    split = split_days(spec, listed, listed[-1])
    raw = spec.source.read_days(listed)
    accepted = accept_rows(raw, spec.contract)
    assert accepted.quarantine.empty, accepted.quarantine["reason"].value_counts()
    rows = spec.clean(accepted.rows) if spec.clean else accepted.rows
    rows = rows.sort_values("day", kind="stable").reset_index(drop=True)
    made = [
        build_examples(spec, *day_and_history(spec, rows, day))
        for day in [*split.train[-12:], *split.holdout[-3:]]
    ]
    learn = pd.concat(made[:-3], ignore_index=True)
    judge = pd.concat(made[-3:], ignore_index=True)
    for name in spec.candidates:
        scores = fit.score(spec, name, fit.fit(spec, name, learn), judge)
        assert len(scores) == len(judge)
    return learn


def as_parquet(folder: Path, rows: pd.DataFrame) -> Path:
    rows.to_parquet(folder / "data.parquet", index=False)
    return folder / "data.parquet"


def as_csv(folder: Path, rows: pd.DataFrame) -> Path:
    rows.to_csv(folder / "data.csv", index=False, sep=";", encoding="cp1252")
    return folder / "data.csv"


RATED = ["--time", "rated_at", "--user", "userId", "--item", "film"]
KINDS: dict[str, tuple[pd.DataFrame, list[str], str, list[str]]] = {
    "binary": (
        orders(40, 50), ["--time", "ordered_at", "--target", "returned"],
        "Classification(", ["logistic", "boosting", "tree", "key_rate"],
    ),
    "regression": (
        weather(), ["--time", "date", "--target", "rain"],
        "Regression(", ["ridge", "boosting", "tree", "recent_mean"],
    ),
    "demand": (
        demand(), ["--time", "at", "--target", "sold"],
        "Regression(", ["ridge", "boosting", "tree", "naive_last_week"],
    ),
    "own target": (
        orders(40, 50).rename(columns={"town": "target", "shop_id": "relevant"}),
        ["--time", "ordered_at", "--target", "returned"],
        "Classification(", ["logistic", "boosting", "tree"],
    ),
    "multiclass": (
        weather(), ["--time", "date", "--target", "kind"],
        "Multiclass(", ["logistic", "boosting", "tree"],
    ),
    "explicit": (
        ratings(), [*RATED, "--rating", "stars"],
        "Recommendation(", ["popularity", "neighbours", "ranker"],
    ),
    "implicit": (
        ratings(), RATED,
        "Recommendation(", ["popularity", "neighbours", "ranker"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", in_part(KINDS, "binary", "implicit"))
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_what_it_writes_is_tidy_and_runs(kind: str, tmp_path: Path) -> None:
    rows, asked, problem, candidates = KINDS[kind]
    write = as_csv if kind in ("regression", "binary") else as_parquet
    _, text = make("--from", str(write(tmp_path, rows)), *asked, out=tmp_path / f"{kind}.py")
    assert tidy(text, tmp_path) == ""
    spec = load_spec(str(tmp_path / f"{kind}.py"))
    assert f"problem={problem}" in text
    assert [*spec.candidates][: len(candidates)] == candidates
    assert spec.baseline in (None, [*spec.candidates][-1], "popularity")
    examples = rehearse(spec)
    assert examples["target"].nunique() > 1


@pytest.mark.long
def test_a_column_may_be_taken_out_of_those_known_ahead_and_nowhere_else(tmp_path: Path) -> None:
    file, asked = tmp_path / "orders.py", ["--time", "ordered_at", "--target", "returned"]
    _, text = make("--from", str(as_parquet(tmp_path, orders(30, 50))), *asked, out=file)
    assert 'ALIKE = ("town", "shop_id")' in text
    before, after = text.split("KNOWN_AHEAD = ", 1)
    for name in ("shop_id", "vip", "class"):
        after = re.sub(rf'^( *)"{name}",\n|(?<=[( ])"{name}", ', "", after, count=1, flags=re.M)
    file.write_text(f"{before}KNOWN_AHEAD = {after}")
    spec = load_spec(str(file))
    assert not {"shop_id", "vip", "class"} & {*spec.known_ahead}
    assert {"town", "town_usual", "amount"} <= {*rehearse(spec)}


def test_a_table_whose_dates_begin_with_the_day_is_read_as_told(tmp_path: Path) -> None:
    rows = weather()
    rows["date"] = rows["date"].dt.strftime("%d-%m-%Y")
    plan, text = make(
        "--from", str(as_parquet(tmp_path, rows)), "--time", "date", "--target", "rain",
        "--time-format", "%d-%m-%Y", out=tmp_path / "rain.py",
    )  # fmt: skip
    assert (plan.first, len(rows)) == (date(2025, 3, 3), 120)
    assert 'time_format="%d-%m-%Y"' in text


def test_it_says_what_it_left_out_and_why(tmp_path: Path) -> None:
    plan, text = make(
        "--from", str(write_daily(tmp_path / "orders", orders(), "ordered_at")),
        "--time", "ordered_at", "--target", "returned", out=tmp_path / "orders.py",
    )  # fmt: skip
    module = ast.parse(text)
    names = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
    }
    assert names["KEY"] == ("order_id",)
    assert names["KNOWN_AHEAD"] == (
        "order_id", "ordered_at", "amount", "town", "class", "shop_id", "vip", NASTY,
    )  # fmt: skip
    assert names["ALIKE"] == ("town", "shop_id")
    assert names["TYPES"] == {"shop_id": "str", "vip": "float64"}
    for words in ("closed_at: it is later", "fee: alone", "order_id", "country", "no time zone"):
        assert any(words in warning for warning in plan.warnings), words
    doc = ast.get_docstring(module)
    assert doc is not None
    assert "Known only later? fee" in doc
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#   ")]
    entries = yaml.safe_load("\n".join(lines).replace("*pool", "pool"))
    assert [entry["name"] for entry in entries] == ["retrain-orders", "look-orders"]
    assert entries[1]["parameters"]["config"] == {"model": "orders", "look": True}


def test_nothing_from_the_data_becomes_code(tmp_path: Path) -> None:
    harm = '"""\nraise SystemExit(7)\n"""'
    rows = weather().rename(columns={"clouds": harm})
    rows["kind"] = rows["kind"].map(
        {"dry": "'); raise SystemExit(8) #", "wet": '\\"', "storm": "€"}
    )
    _, text = make(
        "--from", str(as_parquet(tmp_path, rows)), "--time", "date", "--target", "kind",
        out=tmp_path / "bad.py",
    )  # fmt: skip
    assert tidy(text, tmp_path) == ""
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(ast.parse(text)))
    assert harm in load_spec(str(tmp_path / "bad.py")).known_ahead


@pytest.mark.long
def test_a_table_of_a_database_is_named_in_the_source(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        orders(30, 20).drop(columns=[NASTY]).to_sql("orders", database, index=False)
    database.close()
    _, text = make(
        "--from", f"sqlite:///{tmp_path}/shop.db", "--table", "orders",
        "--time", "ordered_at", "--target", "returned", "--timezone", "Europe/Berlin",
        out=tmp_path / "shop.py",
    )  # fmt: skip
    assert 'table="orders"' in text
    spec = load_spec(str(tmp_path / "shop.py"))
    assert spec.timezone == spec.source.timezone == "Europe/Berlin"  # type: ignore[attr-defined]
    rehearse(spec)


def test_a_label_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    rows = orders()
    open_ = rows["ordered_at"] > rows["ordered_at"].max() - pd.Timedelta(days=3)
    open_ |= np.arange(len(rows)) % 50 == 0
    rows = rows.assign(
        returned=rows["returned"].mask(open_), closed_at=rows["closed_at"].mask(open_)
    )
    plan, text = make(
        "--from", str(as_parquet(tmp_path, rows)), "--time", "ordered_at", "--target", "returned",
        out=tmp_path / "late.py",
    )  # fmt: skip
    assert plan.delay == 3
    assert load_spec(str(tmp_path / "late.py")).label_delay.days == 3
    assert tidy(text, tmp_path) == ""
    rehearse(load_spec(str(tmp_path / "late.py")))


@pytest.mark.parametrize("delay", [pytest.param(1, marks=pytest.mark.long), 7])
@pytest.mark.parametrize("kind", in_part(["binary", "regression"], "binary"))
def test_a_label_delay_put_in_by_hand_is_kept_to_by_the_features(
    kind: str, delay: int, tmp_path: Path
) -> None:
    """Labels that are not final on the evening before a day are other ones, its inputs are not."""
    rows, asked, *_ = KINDS[kind]
    place = tmp_path / "edited.py"
    _, text = make("--from", str(as_parquet(tmp_path, rows)), *asked, out=place)
    place.write_text(text.replace("    holdout=", f"    label_delay=days({delay}),\n    holdout="))
    spec = load_spec(str(place))
    assert spec.label_delay.days == delay
    listed = list(spec.source.list_days(NOW.date()))
    day = listed[-3]
    accepted = accept_rows(spec.source.read_days(listed), spec.contract).rows
    clean = spec.clean(accepted) if spec.clean else accepted
    clean = clean.sort_values("day", kind="stable").reset_index(drop=True)
    target, stamp = spec.problem.target, pd.Timestamp(day)  # type: ignore[attr-defined]
    ages = (stamp - clean["day"]).dt.days
    other, older = (
        clean.assign(**{target: clean[target].mask(chosen, 1)})
        for chosen in (ages.between(1, delay), ages > delay)
    )
    inputs, same, others = (
        spec.problem.inputs(build_examples(spec, *day_and_history(spec, rows, day)))
        for rows in (clean, other, older)
    )
    pd.testing.assert_frame_equal(inputs, same)
    assert inputs.equals(others) is (spec.lookback.days <= delay)


def test_rows_of_nobody_teach_a_recommendation_nothing(tmp_path: Path) -> None:
    rows = ratings()
    rows["userId"] = rows["userId"].mask(np.arange(len(rows)) % 9 == 0).astype("Int64")
    _, text = make("--from", str(as_parquet(tmp_path, rows)), *RATED, out=tmp_path / "anyone.py")
    assert tidy(text, tmp_path) == ""
    examples = rehearse(load_spec(str(tmp_path / "anyone.py")))
    assert examples["userId"].dtype == "int64"


def test_long_ids_with_gaps_and_codes_with_zeros_are_what_they_were(tmp_path: Path) -> None:
    rows = ratings()
    long = 1_234_567_890_123_456_700 + rows["userId"].astype("Int64") * 7_919_123_457
    rows["userId"] = long.mask(np.arange(len(rows)) % 9 == 0)
    rows["film"] = rows["film"].map("{:05d}".format).where(rows["film"] % 2 == 0, rows["film"])
    rows.to_csv(tmp_path / "data.csv", index=False)
    plan, text = make("--from", str(tmp_path / "data.csv"), *RATED, out=tmp_path / "anyone.py")
    assert tidy(text, tmp_path) == ""
    assert any("leading zeros" in words and "film" in words for words in plan.warnings)
    assert re.search(r"user_id: pd.Int64Dtype = pa.Field\(.*nullable=True", text)
    assert re.search(r"film: str", text)
    examples = rehearse(load_spec(str(tmp_path / "anyone.py")))
    assert set(examples["userId"]) <= set(rows["userId"].dropna())
    assert set(examples["film"]) <= set(rows["film"].astype("str"))


def test_whole_numbers_with_gaps_are_inputs_as_they_were(tmp_path: Path) -> None:
    rows = orders(30, 40)
    gone = np.arange(len(rows)) % 7 == 0
    rows["shop_id"] = rows["shop_id"].astype("Int64").mask(gone)
    rows["guests"] = pd.array(np.arange(len(rows)) % 30, "Int64").astype("Int64")
    rows["guests"] = rows["guests"].mask(gone)
    _, text = make(
        "--from", str(as_parquet(tmp_path, rows)), "--time", "ordered_at", "--target", "returned",
        out=tmp_path / "gaps.py",
    )  # fmt: skip
    assert tidy(text, tmp_path) == ""
    examples = rehearse(load_spec(str(tmp_path / "gaps.py")))
    assert set(examples["shop_id"].dropna()) == {str(shop) for shop in range(1, 9)}
    assert examples["guests"].dtype == "float64"


def test_the_time_may_be_a_column_called_day(tmp_path: Path) -> None:
    rows = weather().rename(columns={"date": "day"})
    _, text = make(
        "--from", str(as_csv(tmp_path, rows)), "--time", "day", "--target", "rain",
        out=tmp_path / "daily.py",
    )  # fmt: skip
    assert 'time="day"' in text
    spec = load_spec(str(tmp_path / "daily.py"))
    listed = spec.source.list_days(date(2100, 1, 1))
    assert list(listed) == sorted(set(rows["day"].dt.date))


def test_a_model_may_be_called_like_a_word_of_its_file(tmp_path: Path) -> None:
    _, text = make(
        "--from", str(as_parquet(tmp_path, weather())), "--time", "date", "--target", "rain",
        "--name", "table", out=tmp_path / "table.py",
    )  # fmt: skip
    assert load_spec(str(tmp_path / "table.py")).name == "table"
    assert "table_model = ModelSpec(" in text


@pytest.mark.long
@pytest.mark.parametrize(("rows", "limit"), [(weather(), 0.5), (orders(30, 60), 0.05)])
def test_few_rows_a_day_may_have_a_bad_one(
    rows: pd.DataFrame, limit: float, tmp_path: Path
) -> None:
    time = str(rows.select_dtypes("datetime").columns[0])
    target = str(rows.columns[-1])
    make(
        "--from", str(as_parquet(tmp_path, rows)), "--time", time, "--target", target,
        out=tmp_path / "few.py",
    )  # fmt: skip
    assert load_spec(str(tmp_path / "few.py")).quarantine_limit == limit


def constant(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(rain=1.0)


def written(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(date=rows["date"].dt.strftime("%d.%m.%Y"))


def alone(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["date", "rain"]].assign(date=rows["date"], number=range(len(rows)))


WRONG: dict[str, tuple[list[str], Callable[[pd.DataFrame], pd.DataFrame] | None, str]] = {
    "no file": (["--from", "gone.parquet"], None, "no such file or folder"),
    "no target": (["--target", "rian"], None, "no column 'rian'. Did you mean 'rain'"),
    "no time": (["--time", "dte"], None, "'dte'"),
    "a name that is none": (["--name", "../x"], None, "--name: found '../x'"),
    "an endless target": (
        [], lambda rows: rows.assign(rain=np.where(rows.index == 3, np.inf, rows["rain"])),
        "found 1 infinite values",
    ),
    "an empty CSV file": (["--from", "empty.csv"], None, "empty.csv"),
    "no zone": (["--timezone", "Mars"], None, "--timezone: found 'Mars'"),
    "one value": ([], constant, "--target 'rain': found 1.0 in every row"),
    "times that are none": (
        [], written, "or an option that says it, such as --time-format '%d-%m-%Y'. Correct",
    ),
    "too short": ([], lambda rows: rows.head(6), "has 6 days; expected at least 10"),
    "the target is the time": (["--target", "date"], None, "found the column of --time"),
    "half a recommendation": (["--user", "kind"], None, "Found only one of --user and --item"),
    "no folder": (["--out", "gone/x.py"], None, "there is no folder"),
    "no Python file": (["--out", "x.txt"], None, "ends in .py"),
    "a table of a file": (["--table", "x"], None, "expected the URL of a database"),
    "a password": (
        ["--from", "postgresql+psycopg://me:s3cret@host/db", "--table", "x"], None, "${",
    ),
}  # fmt: skip


def say(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["new_model.py", *arguments])
    capsys.readouterr()
    code = new_model.main()
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("case", in_part(WRONG))
def test_a_mistake_gets_one_message(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more, spoil, words = WRONG[case]
    monkeypatch.chdir(tmp_path)
    rows = weather()
    as_parquet(tmp_path, spoil(rows) if spoil else rows)
    usual = ["--from", "data.parquet", "--time", "date", "--target", "rain", "--out", "model.py"]
    (tmp_path / "empty.csv").touch()
    code, said = say([*usual, *more], monkeypatch, capsys)
    assert code == 2, said
    assert words in said
    assert said.startswith("nightly: ")
    assert said.endswith("Nothing was written.\n")
    assert "s3cret" not in said
    assert "Traceback" not in said
    assert {file.name for file in tmp_path.iterdir()} <= {"data.parquet", "empty.csv", "home"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Convert them in query=, or set timezone='UTC'.", "in --query, or set --timezone 'UTC'."),
        ("Leave these rows out in query=.", "Leave these rows out in --query."),
        ("with query='SELECT 1'", "with --query 'SELECT 1'"),
        ("Correct time= in the model's source.", "Correct --time."),
    ],
)
def test_a_setting_of_a_source_is_named_as_the_option_that_was_typed(said: str, shown: str) -> None:
    assert new_model.as_options(said).endswith(shown)


def test_a_file_that_exists_is_kept_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rain.py"
    usual = ["--from", str(as_parquet(tmp_path, weather())), "--time", "date", "--target", "rain"]
    usual += ["--out", str(out)]
    code, said = say(usual, monkeypatch, capsys)
    assert code == 0
    assert f"python flows/retrain.py --model {out} --check" in said
    assert f"python flows/retrain.py --model {out} --as-of 2025-06-30" in said
    first = out.read_text()
    out.write_text(first.replace("days(", "days( "))
    code, said = say(usual, monkeypatch, capsys)
    assert (code, "set --force" in said) == (2, True)
    assert say([*usual, "--force"], monkeypatch, capsys)[0] == 0
    assert out.read_text() == first
    other = tmp_path / "serve.py"
    shutil.copy(PROJECT / "deployments" / "serve.py", other)
    code, said = say([*usual, "--out", str(other), "--force"], monkeypatch, capsys)
    assert (code, "found a file that is not a model file" in said) == (2, True)


def test_the_folders_of_a_lake_are_days(tmp_path: Path) -> None:
    for day in ("2026-11-20", "2026-11-21"):
        place = tmp_path / "lake" / f"dt={day}"
        place.mkdir(parents=True)
        for name in ("part-0.snappy.parquet", "_SUCCESS", ".part-0.crc"):
            (place / name).touch()
    asked = argparse.Namespace(
        origin=str(tmp_path / "lake"), table=None, query=None, time="at", time_format=None
    )
    kind, arguments = new_model.describe_source(asked)
    assert (kind, arguments) == ("ParquetDays", {"path": str(tmp_path / "lake")})
    assert not new_model.names_folders(asked)
    asked.time = "dt"
    assert new_model.names_folders(asked), "as other readers name a column"


def test_of_an_export_delimiter_encoding_and_decimal_commas_are_found(tmp_path: Path) -> None:
    count = range(9)
    rows = pd.DataFrame({"at": "2026-11-21", "Preis (€)": [n / 4 - 1 for n in count], "n": 7})
    rows["thousands"] = [f"{n},{n}00" for n in count]
    rows["code"] = ["1,5", *["a"] * 8]
    rows["sum"] = [f"{n + 1}.000,5" for n in count]
    rows.loc[3, "sum"] = None
    rows.to_csv(tmp_path / "e.csv", sep=";", decimal=",", encoding="cp1252", index=False)
    asked = argparse.Namespace(
        origin=str(tmp_path / "e.csv"), table=None, query=None, time="at", time_format=None
    )
    _, arguments = new_model.describe_source(asked)
    assert arguments["types"] == {"Preis (€)": "comma", "sum": "comma"}
    assert (arguments["delimiter"], arguments["encoding"]) == (";", "cp1252")
    assert new_model.as_code(arguments)[-1].startswith('types={"Preis (')
    source = CsvDays(**arguments)
    read = source.read_days(list(source.list_days(NOW.date())))
    assert read["Preis (€)"].tolist() == rows["Preis (€)"].tolist()
    assert read["sum"].dropna().tolist() == [n * 1_000 + 0.5 for n in (1, 2, 3, 5, 6, 7, 8, 9)]


@pytest.mark.parametrize(
    ("name", "owner"),
    [("email", "Python"), ("sklearn", "scikit-learn"), ("tasks", "this project"), ("tests", "")],
)
def test_a_name_that_others_import_is_refused_with_another(
    name: str, owner: str, tmp_path: Path
) -> None:
    data = orders(30, 20)
    data.to_csv(tmp_path / f"{name}.csv", index=False)
    asked = ["--from", str(tmp_path / f"{name}.csv"), "--time", "ordered_at"]
    parser = new_model.new_model_parser()
    target = ["--target", "returned"]
    said = rf"{name}\.py: found the name of a module of {owner}.* --name {name}_model"
    with pytest.raises(new_model.InferError, match=said):
        new_model.make(parser.parse_args([*asked, *target]), NOW)
    with pytest.raises(new_model.InferError, match=said):
        new_model.make(parser.parse_args([*asked, *target, "--name", name]), NOW)
    assert not (PROJECT / "deployments" / f"{name}.py").exists()
