"""Load packaged models as an app would, and score a probe with each, in a separate process.

    python -P smoke_test.py MODEL_FOLDER PROBE.parquet [MODEL_FOLDER PROBE.parquet ...]

Run by ``tasks.clean_process.package_check`` with only the libraries on the path: a model brings its
own code. Prints a JSON list with, for each: ``predictions`` (rows of numbers), ``latency_ms`` (for
1,000 rows, best of three) and ``enforces_signature`` (whether rows without the first column are
refused), or ``fault``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

import yaml


def main() -> None:
    """Print the results, and nothing that a model's code prints."""
    gc.set_threshold(50_000)  # importing the libraries makes a million objects and no garbage
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # MLflow reads each file thrice
    stdout = os.dup(1)
    os.dup2(2, 1)
    named = sys.argv[1:]
    found = []
    for folder, probe in zip(named[::2], named[1::2], strict=True):
        try:
            found.append(ask(folder, probe))
        except Exception as error:
            found.append({"fault": f"{type(error).__name__}: {error}"})
    with os.fdopen(stdout, "w") as answer:
        json.dump(found, answer)


def ask(folder: str, probe: str) -> dict[str, Any]:
    """What one model answers."""
    import skops.io  # noqa: F401, I001  # first: it looks through all modules loaded by then
    import mlflow
    import numpy as np
    import pandas as pd

    model = mlflow.pyfunc.load_model(folder, suppress_warnings=True)  # to find some takes a second
    rows = pd.read_parquet(probe)
    predictions = np.asarray(model.predict(rows), dtype=np.float64)
    thousand = pd.concat([rows] * (1000 // len(rows) + 1), ignore_index=True).head(1000)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        model.predict(thousand)
        taken.append(time.perf_counter() - started)
    try:
        model.predict(rows.drop(columns=rows.columns[0]))
        enforced = False
    except mlflow.exceptions.MlflowException:
        enforced = True
    return {
        "predictions": predictions.reshape(len(rows), -1).tolist(),
        "latency_ms": 1000 * min(taken),
        "enforces_signature": enforced,
    }


if __name__ == "__main__":
    main()
