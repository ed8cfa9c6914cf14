"""Load a packaged model as an app would, and score a probe with it, in a separate process.

    python -P smoke_test.py MODEL_FOLDER PROBE.parquet

Run by ``tasks.clean_process.package_check`` with only the libraries on the path: the model brings
its own code. Prints JSON: ``predictions`` (rows of numbers), ``latency_ms`` (for 1,000 rows, best
of three) and ``enforces_signature`` (whether rows without the first column are refused).
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Print the result; an error ends the process with its message."""
    import mlflow
    import numpy as np
    import pandas as pd

    folder, probe = sys.argv[1:]
    model = mlflow.pyfunc.load_model(folder)
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
    found = {
        "predictions": predictions.reshape(len(rows), -1).tolist(),
        "latency_ms": 1000 * min(taken),
        "enforces_signature": enforced,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
