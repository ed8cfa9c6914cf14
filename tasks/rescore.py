"""Ask a model about raw days with its own packaged code, in a process of its own.

    python -P tasks/rescore.py CODE_FOLDER JOB.json ROWS.feather MODEL.skops ANSWERS.feather

Run by ``tasks.incumbent`` with nothing on the path but the libraries: the package brings its spec,
and with it cleaning, features and whatever helper code they use. The rows are those tonight's
contract accepted. For days gone by it writes one line for each thing asked: ``day``, the position
of its raw row or its user and item, and ``score``, or one for each class or level. For a day to
come, with ``REQUESTS.feather`` as a sixth argument where the spec names requests, it writes what
the app reads.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer into the last file named; whatever goes wrong ends the process with its words."""
    code, job, rows, model, answers, *requests = sys.argv[1:]
    sys.path.insert(0, code)
    import pandas as pd
    import skops.io

    asked = json.loads(Path(job).read_text(encoding="utf-8"))
    spec = find_spec(asked["file"], asked["module"], asked["model"])
    accepted = pd.read_feather(rows)
    estimator = skops.io.load(model, trusted=asked["trusted"])
    cleaned = spec.clean(accepted) if spec.clean else accepted
    cleaned = cleaned.sort_values("day", kind="stable")
    if "ahead" in asked:
        named = pd.read_feather(requests[0]) if requests else None
        found, _ = answer_ahead(spec, estimator, cleaned, named, pd.Timestamp(asked["ahead"]))
    else:
        days = [answer_day(spec, estimator, cleaned, pd.Timestamp(day)) for day in asked["days"]]
        found = pd.concat(days, ignore_index=True)
    found.to_feather(answers)


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
    named = {"score": scores}
    if scores.ndim > 1:
        named = dict(zip(spec.problem.score_columns, scores.T, strict=True))
    return pd.DataFrame({"day": stamp, **keys, **named})


def answer_ahead(
    spec: Any, estimator: Any, cleaned: Any, named: Any, stamp: Any
) -> tuple[Any, Any]:
    """What the app reads for a day to come, and the inputs it was made of.

    Args:
        spec: The model.
        estimator: Its fitted estimator.
        cleaned: Clean rows, ascending by ``day``.
        named: Raw rows of what is asked, or None where the spec names nothing.
        stamp: The day.
    """
    import pandas as pd

    past = cleaned[(cleaned["day"] < stamp) & (cleaned["day"] >= stamp - spec.lookback)]
    past, problem = past.reset_index(drop=True), spec.problem
    asked = clean_requests(spec, named, stamp) if named is not None else None
    requests = problem.ask(asked, past, spec.known_ahead)
    found = [answer_batch(spec, estimator, past, some) for some in problem.batches(requests)]
    anyone = problem.ask_for_anyone(requests, past)
    if anyone is not None:
        from tasks.answers import for_anyone

        made = answer_batch(spec, estimator, past, anyone)
        found.append((for_anyone(made[0], problem.user), for_anyone(made[1], problem.user)))
    answers, inputs = (pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))
    return answers, inputs


def answer_batch(spec: Any, estimator: Any, past: Any, requests: Any) -> tuple[Any, Any]:
    """Answers to some requests, and the inputs they were made of beside what names them."""
    problem = spec.problem
    made = spec.features(requests, past)
    made = made.drop(columns=[n for n in ("day", "target", "relevant") if n in made])
    scores = problem.score(estimator, problem.inputs(made))
    named = [name for name in problem.answer_keys if name in requests and name not in made]
    inputs = made.join(requests[named])[[*named, *made.columns]] if named else made
    return problem.answers(requests, made, scores), inputs


def clean_requests(spec: Any, named: Any, stamp: Any) -> Any:
    """Requests as clean rows: what is known only later is missing in them.

    Raises:
        ValueError: Where a column that ``known_ahead`` names is missing.
    """
    import pandas as pd

    declared = spec.contract.to_schema().columns
    absent = [name for name in declared if name not in named]
    if unknown := [name for name in absent if name in spec.known_ahead]:
        raise ValueError(
            f"requests: found no column {unknown[0]!r}; expected every raw column that "
            "known_ahead names"
        )
    rows = named.drop(columns="day", errors="ignore").reset_index(drop=True)
    for name in absent:
        when = "datetime" in str(declared[name].dtype)
        rows[name] = pd.NaT if when else float("nan")
    rows.insert(0, "day", pd.Series(stamp, index=rows.index, dtype="datetime64[s]"))
    return spec.clean(rows) if spec.clean else rows


if __name__ == "__main__":
    main()
