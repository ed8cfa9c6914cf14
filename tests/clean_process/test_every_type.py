"""Features of every type go the whole way: fit, registry, clean process, predictions, requests."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.clean_process import run, version_answers
from tasks.clean_process.package_check import check_package
from tasks.features import cleaning
from tasks.features.examples import prepare_examples
from tasks.features.split import split_days
from tasks.registry import aliases, packages, runs, versions
from tasks.registry.client import open_registry
from tasks.spec.fingerprint import code_paths, libraries
from tasks.spec.loading import load_spec
from tasks.store import frames, models
from tasks.training import fit, stored_fits
from tests.nights import MLFLOW_WARNINGS, nth_day, write_model, write_more
from tests.registry.test_versions import NIGHT
from tests.served import JSON, PARQUET, json_body, parquet_body

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
    pytest.mark.filterwarnings("ignore:Series.values returning"),
]
FEATURES = """shop=day["shop"].where(day["number"] % 7 > 0).astype("category"),
        number=day["shop"].map(history.groupby("shop").size()).where(day["number"] % 5 > 0),
        fresh=day["shop"].map(history.groupby("shop").size()),
        flag=pd.array(np.where(day["number"] % 3 > 0, day["size"] > 0, None), dtype="boolean"),
        tiny=day["size"].astype("float16"),
        small=(day["size"] * 3).round().astype("int8"),
        since=pd.to_timedelta(day["size"].abs().round(3), unit="h"),
    )"""
EDITS = (
    ('shop=(day["shop"] == "a").astype("int64"),\n    )', FEATURES),
    (
        'return make_day(as_of + timedelta(days=1))[["number", "size", "shop"]]',
        'rows = make_day(as_of + timedelta(days=1))[["number", "size", "shop"]]\n'
        '    known = rows["number"] % 11 > 0\n'
        '    return rows.assign(shop=rows["shop"].where(known, "opens tomorrow"))',
    ),
    ('isin=["a", "b"]', 'isin=["a", "b", "opens tomorrow"]'),
)
CANDIDATES = '"constant": DummyClassifier(),\n        "logistic": LogisticRegression(),'
IMPORT = "from sklearn.dummy import DummyClassifier"
BOOSTING = {
    "sklearn": (
        (CANDIDATES, '"boosting": HistGradientBoostingClassifier(max_iter=9, random_state=0),'),
        (IMPORT, f"{IMPORT}\nfrom sklearn.ensemble import HistGradientBoostingClassifier"),
    ),
    "lightgbm": (
        (CANDIDATES, '"boosting": LGBMClassifier(n_estimators=9, n_jobs=1, verbosity=-1),'),
        (IMPORT, f"from lightgbm import LGBMClassifier\n{IMPORT}"),
        (
            "    lookback=days(7),",
            "    lookback=days(7),\n"
            '    trusted=("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"),',
        ),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("library", BOOSTING)
def test_they_are_promoted_predicted_and_served_alike(
    library: str, registry_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.pyfunc.scoring_server import invocations

    monkeypatch.setattr(run, "TIME_OUT", 900)  # the machine of a test may be busy
    write_more(tmp_path / "days", 1, 30)
    spec = load_spec(
        str(write_model(tmp_path / "toy.py", tmp_path / "days", *EDITS, *BOOSTING[library]))
    )
    listed = dict(spec.source.list_days(nth_day(30)))
    clean = cleaning.clean_days(spec, listed)
    split = split_days(spec, list(listed), nth_day(30))
    refs, _ = prepare_examples(spec, listed, clean.refs, split.wanted)
    training = [refs[day] for day in split.refit]
    made, estimator = stored_fits.fit_and_keep(spec, "boosting", training)
    holdout = frames.read_days([refs[day] for day in split.holdout])
    assert len(np.unique(fit.score(spec, "boosting", estimator, holdout))) > 9

    client, trusted = open_registry(), fit.trusted_types(spec)
    twin, sha256 = models.model_file("models", made.key)
    inputs = spec.problem.inputs(holdout)
    version = packages.register_version(
        client,
        runs.log_night(client, NIGHT),
        model="toy",
        estimator=estimator,
        twin=twin,
        twin_sha256=sha256,
        inputs=inputs.head(5),
        code=code_paths(spec),
        trusted=trusted,
        requirements=[f"{name}=={version_of(name)}" for name in libraries(spec)],
        tags=versions.night_tags(
            spec,
            split,
            night="night-1",
            as_of=nth_day(30),
            candidate="boosting",
            shipped_key=made.key,
            prediction_interval=None,
        ),
        description="A test.",
    )
    probe, expected = packages.posted(estimator, inputs), packages.answer(estimator, inputs)
    with packages.downloaded(client, "toy", version, unchecked=True) as place:
        checks = check_package(place, probe, expected, trusted=trusted, gate=spec.gate)
        sha256 = version_answers.files_digest(place)
    assert all(check.passed or check.name == "latency" for check in checks), checks
    packages.seal(
        client, "toy", version, sha256=sha256, trusted=trusted, probe=probe, predictions=expected
    )
    aliases.promote(client, "toy", version)

    champion = versions.read_champion(client, "toy")
    assert champion is not None
    requests = spec.requests(nth_day(30))
    ahead = version_answers.DayAhead(nth_day(31), requests, list(listed), clean.refs)
    found, kept, _ = version_answers.predict_ahead(client, spec, champion, ahead)
    assert kept is not None
    unseen = replace(ahead, day=nth_day(300))  # no day of the source lies within the lookback
    assert len(version_answers.predict_ahead(client, spec, champion, unseen)[0]) == len(found)
    kept.to_parquet(tmp_path / "inputs.parquet")
    rows = pd.read_parquet(tmp_path / "inputs.parquet")
    assert rows["fresh"].isna().any()
    assert holdout["fresh"].notna().all()
    served = mlflow.pyfunc.load_model("models:/toy@champion")
    for kind, body in ((PARQUET, parquet_body(rows)), (JSON, json_body(rows))):
        answered = invocations(body, kind, served, served.metadata.get_input_schema())
        assert answered.status == 200, answered.response
        numbers = np.array(json.loads(answered.response)["predictions"])[:, 1]
        np.testing.assert_array_equal(numbers, found["probability"])
