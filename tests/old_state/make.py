"""Make ``state.tar.xz``: what nights have left behind, for later code to go on from.

It was run at commit af9757a, before ``tasks/`` became packages. To make it again with that code::

    git worktree add /tmp/old af9757a
    cp -r tests/old_state /tmp/old/tests/        # with the imports of that commit in both models
    cd /tmp/old && python -m venv .venv && .venv/bin/pip install -r requirements.lock -e .
    .venv/bin/python tests/old_state/make.py     # then copy both files it names back

``state.tar.xz`` holds the state directory after these nights:

- ``visits``: two promotions, a night that kept the champion (its model file was edited for that
  night alone, so the champion answered with its own code), and a night held for want of data;
- ``baskets``: one promotion.

``expected.json`` holds what that code went on to say: the predictions of the next day by every
version, what each predicts for a few rows, and the champions' figures in the next night.

Left out of the archive, for no later night needs them: pictures, logs and locks, and of
MLflow's copy of a report all but ``report.json``. The database is vacuumed.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PLACE = Path("/tmp/nightly-old-state")
HERE = Path(__file__).parent
os.environ |= {
    "NIGHTLY_HOME": str(PLACE / "home"),
    "PREFECT_HOME": str(PLACE / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}
KEPT_NIGHT = ("min_units=100", "min_units=100_000")
MODELS = ("visits", "baskets")


def main() -> None:
    """Run the nights, pack the state, and note what comes next."""
    from prefect.testing.utilities import prefect_test_harness
    from rows import nth_day, write_days

    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    for name in MODELS:
        shutil.copy(HERE / f"{name}.py", PLACE)
    write_days(PLACE, 1, 30)
    with prefect_test_harness(server_startup_timeout=120):
        assert night("visits", nth_day(28))["verdict"] == "PROMOTED"
        assert night("visits", nth_day(29))["verdict"] == "PROMOTED"
        with edited("visits", *KEPT_NIGHT) as name:
            assert night(name, nth_day(30))["verdict"] == "KEPT"
        assert night("visits", nth_day(31))["verdict"] == "HELD"
        assert night("baskets", nth_day(30))["verdict"] == "PROMOTED"
        pack()

        expected: dict[str, Any] = {"place": str(PLACE)}
        for name in MODELS:
            expected[name] = {"probes": dict(probes(name))}
        write_days(PLACE, 31, 32)
        for name in MODELS:
            predict(name, nth_day(32))
            expected[name]["published"] = dict(published(name, str(nth_day(32))))
            report = night(name, nth_day(32))
            expected[name]["figures"] = report["metrics"]["champion"]
            expected[name]["live"] = report["live"]
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    for file in ("state.tar.xz", "expected.json"):
        print(f"{HERE / file}: {(HERE / file).stat().st_size:,} bytes")


def night(name: str, as_of: Any) -> dict[str, Any]:
    """The report of a night."""
    from flows.retrain import retrain

    found = retrain({"model": str(PLACE / f"{name}.py"), "as_of": as_of}, return_state=True)
    report: dict[str, Any] = found.result(raise_on_failure=False)
    print(name, as_of, report["verdict"], report["reasons"])
    return report


def predict(name: str, as_of: Any) -> None:
    """Publish a champion's predictions."""
    from flows.predict import predict as flow

    state = flow({"model": str(PLACE / f"{name}.py"), "as_of": as_of}, return_state=True)
    assert "PUBLISHED" in (state.name, str(state.message).split(".")[0]), state.message


@contextmanager
def edited(name: str, old: str, new: str) -> Iterator[str]:
    """Name of a copy of a model's file with other text in it."""
    text = (HERE / f"{name}.py").read_text()
    assert text.count(old) == 1
    copy = PLACE / f"{name}_edited.py"
    copy.write_text(text.replace(old, new))
    yield copy.stem
    copy.unlink()


def probes(name: str) -> Iterator[tuple[str, Any]]:
    """Of each version a few rows of inputs and what an app gets for them."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{PLACE / 'home' / 'mlflow.db'}")
    for version in mlflow.MlflowClient().search_model_versions(f"name = '{name}'"):
        model = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
        rows = model.input_example
        yield (
            str(version.version),
            {
                "rows": rows.to_dict(orient="split", index=False),
                "dtypes": rows.dtypes.astype(str).to_dict(),
                "predictions": model.predict(rows).tolist(),
            },
        )


def published(name: str, as_of: str) -> Iterator[tuple[str, Any]]:
    """Of each version that answered, its predictions as CSV without what names the run."""
    import pandas as pd

    for file in (f"{as_of}.parquet", f"{as_of}.previous.parquet"):
        if (PLACE / "home" / "predictions" / name / file).is_file():
            rows = pd.read_parquet(PLACE / "home" / "predictions" / name / file)
            version = str(rows["version"].iloc[0])
            rows = rows.drop(columns=["version", "made_at", "as_of", "day"], errors="ignore")
            yield version, rows.to_csv(index=False)


def pack() -> None:
    """The state directory as one archive."""
    with closing(sqlite3.connect(PLACE / "home" / "mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with tarfile.open(HERE / "state.tar.xz", "w:xz", preset=9) as archive:
        for file in sorted((PLACE / "home").rglob("*")):
            relative = file.relative_to(PLACE)
            if file.is_file() and not left_out(relative):
                archive.add(file, relative, filter=anonymous)


def left_out(file: Path) -> bool:
    """Whether the archive does without this file."""
    copied_report = "artifacts" in file.parts and "report" in file.parts
    return (
        file.suffix in (".png", ".lock", ".log")
        or file.name.endswith(("-wal", "-shm"))
        or (copied_report and file.name != "report.json")
    )


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry of nobody's."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
