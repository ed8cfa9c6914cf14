"""Score raw days with a model's own packaged code, in a process of its own.

    python -P tasks/rescore.py CODE_FOLDER JOB.json ROWS.feather TWIN.skops ANSWERS.feather

Run by ``tasks.incumbent`` with nothing on the path but the libraries: the package brings its spec,
and with it cleaning, features and whatever helper code they use. The rows are those tonight's
contract accepted. Writes one line for each thing asked: ``day``, the position of its raw row or its
user and item, and ``score``.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer into the last file named; whatever goes wrong ends the process with its words."""
    code, job, rows, twin, answers = sys.argv[1:]
    sys.path.insert(0, code)
    import pandas as pd
    import skops.io

    asked = json.loads(Path(job).read_text(encoding="utf-8"))
    spec = find_spec(asked["file"], asked["module"], asked["model"])
    accepted = pd.read_feather(rows)
    estimator = skops.io.load(twin, trusted=asked["trusted"])
    cleaned = spec.clean(accepted) if spec.clean else accepted
    cleaned = cleaned.sort_values("day", kind="stable")
    found = [answer_day(spec, estimator, cleaned, pd.Timestamp(day)) for day in asked["days"]]
    pd.concat(found, ignore_index=True).to_feather(answers)


def find_spec(file: str, module: str, model: str) -> Any:
    """The packaged spec of that name; its module answers to the name it had when it was made."""
    made = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    sys.modules.setdefault(module, made)
    from tasks.spec import ModelSpec

    found = [v for v in vars(made).values() if isinstance(v, ModelSpec) and v.name == model]
    if not found:
        raise LookupError(f"{file} in the package holds no spec named {model}")
    return found[0]


def answer_day(spec: Any, estimator: Any, cleaned: Any, stamp: Any) -> Any:
    """Scores of what is asked on one day, from the history before it."""
    import pandas as pd

    today = cleaned[cleaned["day"] == stamp]
    past = cleaned[(cleaned["day"] < stamp) & (cleaned["day"] >= stamp - spec.lookback)]
    requests = spec.problem.requests(today.reset_index(drop=True), spec.known_ahead)
    made = spec.features(requests, past.reset_index(drop=True))
    reserved = [name for name in ("day", "target", "relevant") if name in made]
    scores = spec.problem.score(estimator, spec.problem.inputs(made.drop(columns=reserved)))
    user = getattr(spec.problem, "user", None)
    keys = made[[user, spec.problem.item]] if user else {"row": today.index[made.index]}
    return pd.DataFrame({"day": stamp, **keys, "score": scores})


if __name__ == "__main__":
    main()
