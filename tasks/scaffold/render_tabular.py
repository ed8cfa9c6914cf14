"""The text of a model file that predicts one column, meant to be edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.scaffold.code import call, constant, literal, nested
from tasks.scaffold.render_spec import (
    class_name,
    contract,
    docstring,
    gate,
    question,
    schedule,
    source,
    variable,
    windows,
)
from tasks.spec.model_spec import ModelSpec

if TYPE_CHECKING:
    from tasks.scaffold.plan import Plan


def write_tabular(plan: Plan) -> str:
    """A model file for classification, many classes or a number."""
    lines = [*docstring(plan), "", *_imports(plan), "", *_constants(plan), "", ""]
    lines += [*contract(plan), "", ""]
    if cleaned := _clean(plan):
        lines += [*cleaned, "", ""]
    lines += [*_features(plan), "", "", *_vectorizer(plan), *_spec(plan)]
    return "\n".join([*lines, "", *schedule(plan)]) + "\n"


def _imports(plan: Plan) -> list[str]:
    kind = plan.target.kind if plan.target else ""
    text = {
        "binary": ("HistGradientBoostingClassifier", "LogisticRegression", "Classification"),
        "multiclass": ("HistGradientBoostingClassifier", "LogisticRegression", "Multiclass"),
        "regression": ("HistGradientBoostingRegressor", "Ridge", "Regression"),
    }
    boosting, linear, problem = text[kind]
    tree = "DecisionTreeRegressor" if kind == "regression" else "DecisionTreeClassifier"
    zoned = any(column.zone for column in plan.columns if column.role not in _GONE)
    closed = plan.windows.window is not None
    return [
        "from __future__ import annotations",
        "",
        "import pandas as pd",
        "import pandera.pandas as pa",
        *(["from pandera.typing.pandas import Series"] if zoned else []),
        "from sklearn.compose import make_column_selector, make_column_transformer",
        f"from sklearn.ensemble import {boosting}",
        "from sklearn.impute import SimpleImputer",
        f"from sklearn.linear_model import {linear}",
        "from sklearn.pipeline import make_pipeline",
        "from sklearn.preprocessing import OneHotEncoder, StandardScaler",
        f"from sklearn.tree import {tree}",
        "from skrub import DatetimeEncoder, MinHashEncoder, TableVectorizer",
        "",
        f"from tasks.problems import {problem}",
        *_naive_import(plan),
        f"from tasks.sources import {plan.imported}",
        f"from tasks.spec import {'' if closed else 'EXPANDING, '}Gate, ModelSpec, days",
    ]


_GONE = ("constant", "unusable")


def _naive_import(plan: Plan) -> list[str]:
    """The estimator of the baseline, and the function that makes its input."""
    if plan.baseline is None:
        return []
    names = [_naive_class(plan), *([plan.baseline.how] if plan.looks_back else [])]
    return [f"from tasks.problems.naive import {', '.join(names)}"]


def _naive_class(plan: Plan) -> str:
    assert plan.target
    regression = plan.target.kind == "regression"
    if plan.looks_back:
        return "ColumnForecast" if regression else "ColumnRate"
    return "KeyMedian" if regression else "KeyRates"


def _constants(plan: Plan) -> list[str]:
    (target,) = plan.named("target")
    keys = [column.name for column in plan.named("id")]
    lines = [f"TARGET = {literal(target.name)}"]
    if _is_mapped(plan) and plan.target:
        pairs = [f"{literal(value)}: {code}" for code, value in enumerate(plan.target.classes)]
        lines += call("CLASSES = {", pairs)
    if zoned := _zoned(plan):
        lines += constant("ZONED", zoned, "  # times to convert to local times")
    if plan.alike:
        assert plan.target
        lines.append(f"USUAL = {literal(plan.target.usual)}  # of the target")
        lines += constant("ALIKE", plan.alike, "  # categories whose past becomes a feature")
    if plan.calendar:
        lines += constant("CALENDAR", plan.calendar, "  # follow the date: no drift")
    if plan.baseline and plan.baseline.by:
        lines += constant("BY", plan.baseline.by, "  # of KNOWN_AHEAD: rows alike share a baseline")
    if past := _past(plan):
        lines += constant("PAST", past, "  # made of earlier days only: may be strong")
    lines += constant("KEY", keys, "  # identifies a row; not an input") if keys else []
    if types := _types(plan):
        lines += call("TYPES = {", types, tail="  # types that the candidates expect")
    lines.append(
        "# Columns known before the day begins. Only you can tell: remove those that are not."
    )
    return lines + constant("KNOWN_AHEAD", plan.ahead)


def _types(plan: Plan) -> list[str]:
    """Column types: codes become text, flags and whole numbers that may be missing floats."""
    found = []
    for column in plan.named("input"):
        if column.is_code:
            found.append(f'{literal(column.name)}: "str"')
        elif column.kind in ("flag", "whole") and column.missing:
            found.append(f'{literal(column.name)}: "float64"')
    return found


def _is_mapped(plan: Plan) -> bool:
    """Whether the two values of the target are not 0 and 1."""
    return plan.target is not None and plan.target.kind == "binary" and bool(plan.target.classes)


def _zoned(plan: Plan) -> list[str]:
    return [column.name for column in plan.named("time", "input") if column.zone]


def _clean(plan: Plan) -> list[str]:
    zoned, mapped = _zoned(plan), _is_mapped(plan)
    if not zoned and not mapped:
        return []
    lines = ["def clean(rows: pd.DataFrame) -> pd.DataFrame:"]
    words = " and ".join(["local times"] * bool(zoned) + ["0 and 1 for the target"] * mapped)
    lines += [f'    """{words.capitalize()}, from accepted rows."""', "    changed = {}"]
    if zoned:
        lines += [
            "    for name in ZONED:",
            f"        local = rows[name].dt.tz_convert({literal(plan.timezone)})",
            "        changed[name] = local.dt.tz_localize(None)",
        ]
    lines += ["    changed[TARGET] = rows[TARGET].map(CLASSES)"] * mapped
    return [*lines, "    return rows.assign(**changed)"]


def _features(plan: Plan) -> list[str]:
    keys = ", *KEY" if plan.named("id") else ""
    inputs = f'day.drop(columns=["day"{keys}])'
    if _types(plan):
        inputs += ".astype(types)"
    lines = []
    if plan.alike:
        lines += [
            "def past_mean(day: pd.DataFrame, history: pd.DataFrame, key: str) -> pd.Series:",
            '    """Mean target of earlier rows with the same value, shrunk to the usual '
            'where few."""',
            '    seen = history.groupby(key)[TARGET].agg(["sum", "count"])',
            '    mean = (seen["sum"] + 20 * USUAL) / (seen["count"] + 20)',
            '    return day[key].map(mean).astype("float64").fillna(USUAL)',
            "",
            "",
        ]
    unused = "" if plan.alike or plan.looks_back else "  # noqa: ARG001"
    head = "def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:"
    lines += [head + unused]
    lines += ['    """What is known of each row and of similar rows before the day begins."""']
    if _types(plan):
        lines.append("    types = {name: kind for name, kind in TYPES.items() if name in day}")
    if unused:
        return [*lines, f"    return {inputs}"]
    lines.append(f"    inputs = {inputs}")
    if plan.alike:
        lines.append("    alike = [key for key in ALIKE if key in day]")
        lines.append('    past = {f"{key}_usual": past_mean(day, history, key) for key in alike}')
    if plan.baseline and plan.looks_back:
        head = f'    past["{plan.looks_back}"] = ' if plan.alike else "    naive = "
        parts = ["day", "history", "TARGET", *(["BY"] if plan.baseline.by else [])]
        if plan.baseline.timed:
            parts.append(f"time={literal(plan.named('time')[0].name)}")
        lines += call(f"{head}{plan.baseline.how}(", parts, 0)
    given = "**past" if plan.alike else f"{plan.looks_back}=naive"
    return [*lines, f"    return inputs.assign({given})"]


def _past(plan: Plan) -> list[str]:
    """The inputs that are made of earlier days only: they may be as strong as they are."""
    return [*(f"{key}_usual" for key in plan.alike), *([plan.looks_back] * bool(plan.looks_back))]


def _vectorizer(plan: Plan) -> list[str]:
    resolution = "day" if plan.midnight else "hour"
    no_seconds = "add_total_seconds=False"
    return [
        "categories_and_dates = TableVectorizer(  # as numbers",
        '    low_cardinality=OneHotEncoder(handle_unknown="ignore", sparse_output=False),',
        "    high_cardinality=MinHashEncoder(n_components=10),",
        f'    datetime=DatetimeEncoder(resolution="{resolution}", add_weekday=True, {no_seconds}),',
        ")",
        "table = make_column_transformer(  # numbers stay as they are",
        '    (categories_and_dates, make_column_selector(dtype_exclude=["number", "bool"])),',
        '    remainder="passthrough",',
        ")",
        "",
    ]


def _candidates(plan: Plan) -> list[str]:
    assert plan.target
    regression = plan.target.kind == "regression"
    linear = "Ridge()" if regression else "LogisticRegression(max_iter=1000)"
    kind, name = ("Regressor", "ridge") if regression else ("Classifier", "logistic")
    boosting = ["early_stopping=False", "random_state=0"]
    boosting[:0] = ['loss="absolute_error"'] if regression else []
    if plan.target.kind == "multiclass":  # else a class of few rows makes its scores run away
        boosting.append("l2_regularization=10.0")
    booster = nested(f"HistGradientBoosting{kind}(", boosting, 12)
    lines = ["    candidates={"]
    steps: tuple[tuple[str, Sequence[str]], ...] = (
        (name, ("table", "SimpleImputer(keep_empty_features=True)", "StandardScaler()", linear)),
        ("boosting", ("table", booster)),
        (
            "tree",
            ("table", f"DecisionTree{kind}(max_depth=6, min_samples_leaf=20, random_state=0)"),
        ),
    )
    for candidate, parts in steps:
        lines += call(f'"{candidate}": make_pipeline(', parts, 8, ",")
    if not plan.baseline:
        return [*lines, "    },"]
    of = literal(plan.looks_back) if plan.looks_back else "BY"
    lines.append(f'        "{plan.baseline_name}": {_naive_class(plan)}({of}),')
    return [
        *lines,
        "    },",
        f'    baseline="{plan.baseline_name}",  # what the others have to beat',
    ]


def _problem(plan: Plan) -> list[str]:
    assert plan.target
    parts = ["target=TARGET"]
    if plan.target.kind == "multiclass":
        head = "problem=Multiclass("
        parts.append(nested("classes=(", [literal(c) for c in plan.target.classes], 8))
    elif plan.target.kind == "binary":
        head = "problem=Classification("
        parts.append(f'metric="{plan.target.metric}"')
    else:
        head = "problem=Regression("
        parts.append(f'metric="{plan.target.metric}"')
    if plan.named("id"):
        parts.append("key=KEY")
    return call(head, parts, 4, ",")


def _least_answers(plan: Plan) -> list[str]:
    """A lower bound of the predictions where half as many rows as the day before are usual."""
    if plan.fewest >= ModelSpec.least_answers:
        return []
    least = literal(round(plan.fewest / 2, 2))
    return [f"    least_answers={least},  # of the last time: rows a day vary"]


def _spec(plan: Plan) -> list[str]:
    return [
        f"{variable(plan.name)} = ModelSpec(",
        f'    name="{plan.name}",',
        f"    question={literal(question(plan))},",
        *source(plan),
        f"    contract={class_name(plan.name)},",
        *_problem(plan),
        "    known_ahead=KNOWN_AHEAD,",
        *(["    clean=clean,"] if _clean(plan) else []),
        "    features=features,",
        f"    lookback=days({plan.windows.lookback}),",
        *_candidates(plan),
        *(f"    {part}" for part in windows(plan)),
        *([f"    timezone={literal(plan.timezone)},"] if plan.timezone != "UTC" else []),
        *(["    drift_ignored=CALENDAR,"] * bool(plan.calendar)),
        *_least_answers(plan),
        *gate(plan, *(["strong_features=PAST"] * bool(_past(plan)))),
        ")",
    ]
