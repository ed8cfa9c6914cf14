"""Score raw days with a model's own packaged code, in a separate process.

    python -P scoring.py CODE_FOLDER JOB.json ROWS.feather MODEL.skops ANSWERS.feather

Run by ``tasks.clean_process.version_answers`` with only the libraries on the path: the package
brings its spec, and with it cleaning, features and their helper code. The rows are those that
tonight's contract accepted. For past days it writes one row for each request: ``day``, the position
of its raw row or its user and item, and ``score``, or one score for each class or level. For a
future day, with ``REQUESTS.feather`` as a sixth argument where the spec defines requests, it writes
the predictions that the app reads.

It also runs with packages of older versions, whose ``tasks`` is another: it imports ``tasks.spec``
alone, once the package is first on the path, and asks a spec for nothing that those lack.

Each of its rows names the raw row it was made of, so that two versions are compared on the same
rows whatever their ``clean`` filters, orders or changes (``follow_rows``).
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("nightly")
CROWD = 10_000
"""Most users in the history that one part of the requests sees."""
NONE: Mapping[Any, list[str]] = {}
"""Where no day has a column of other days."""
KEY = "key {}"
"""Columns of the predictions for past days that hold the problem's key, by its place."""


def main() -> None:
    """Write the predictions to the file named last; an error ends the process with its message."""
    code, job, rows, model, answers, *requests = sys.argv[1:]
    sys.path.insert(0, code)
    import pandas as pd
    import skops.io

    asked = json.loads(Path(job).read_text(encoding="utf-8"))
    spec = find_spec(asked["file"], asked["module"], asked["model"])
    accepted = pd.read_feather(rows)
    absent = {pd.Timestamp(day): names for day, names in asked.get("absent", {}).items()}
    estimator = skops.io.load(model, trusted=asked["trusted"])
    if "ahead" in asked:
        named = pd.read_feather(requests[0]) if requests else None
        stamp, cleaned = pd.Timestamp(asked["ahead"]), clean_rows(spec, accepted, absent)
        found, _ = answer_ahead(spec, estimator, cleaned, named, stamp, 0, asked.get("key"))
    else:
        stamps = [*map(pd.Timestamp, asked["days"])]
        found = answer_days(spec, estimator, accepted, stamps, absent)
    found.to_feather(answers)


def find_spec(file: str, module: str, model: str) -> Any:
    """The packaged spec of that name; its module is also importable under its original name."""
    made = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    sys.modules.setdefault(module, made)
    from tasks.spec import ModelSpec

    found = [v for v in vars(made).values() if isinstance(v, ModelSpec) and v.name == model]
    if not found:
        raise LookupError(f"{file} in the package defines no spec named {model}")
    return found[0]


def clean_rows(spec: Any, accepted: Any, absent: Mapping[Any, list[str]] = NONE) -> Any:
    """Clean rows, ascending by ``day``; ``clean`` gets the rows of one day at a time."""
    return below(list(clean_each(spec, accepted, absent).values()))


def clean_each(spec: Any, accepted: Any, absent: Mapping[Any, list[str]] = NONE) -> dict[Any, Any]:
    """Clean rows of each day that accepted rows have.

    ``clean`` gets one day at a time, so that a day is the same whatever else was read with it. A
    column that the contract does not require and that is missing all day is not there.

    Args:
        spec: The model.
        accepted: Accepted rows.
        absent: Day to the other columns that it has only because other days were read with it.
    """
    if accepted.empty:
        return {None: clean_day(spec, accepted)}
    made = {}
    for day, rows in accepted.groupby("day", sort=True):
        own = rows.reset_index(drop=True).drop(columns=absent.get(day, []))
        try:
            made[day] = clean_day(spec, own)
        except Exception as error:
            error.add_note(f"{day:%Y-%m-%d}")
            raise
    return made


def as_read_alone(spec: Any, rows: Any) -> Any:
    """One day's accepted rows without what other days have brought to columns it does not have.

    Of those that the contract names.
    """
    columns = spec.contract.to_schema().columns
    optional = [name for name in rows if name in columns and not columns[name].required]
    if rows.empty or not optional:
        return rows
    absent = [name for name in optional if rows[name].isna().all()]
    kinds = {
        name: columns[name].dtype.type
        for name in optional
        if name not in absent and columns[name].dtype and not columns[name].nullable
    }
    return rows.drop(columns=absent).astype(kinds)


def clean_day(spec: Any, rows: Any) -> Any:
    """Clean rows of one day, from its accepted rows; what ``clean`` puts on other days is gone."""
    rows = as_read_alone(spec, rows)
    cleaned = frame_of(spec.clean(rows) if spec.clean else rows)
    if rows.empty or "day" not in cleaned:
        return cleaned
    same = cleaned["day"] == rows["day"].iloc[0]
    return (cleaned if same.all() else cleaned[same]).reset_index(drop=True)


def below(parts: list[Any]) -> Any:
    """Frames one below the other; a categorical stays one, with the categories that occur."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    filled = [part for part in parts if len(part)] or parts[:1]
    if len(filled) == 1:
        return filled[0].reset_index(drop=True)
    made = {}
    for name in filled[0]:
        each = [part[name] for part in filled if name in part]
        kinds = {column.dtype for column in each}
        if len(kinds) == 1:
            continue
        if all(isinstance(kind, pd.CategoricalDtype) and not kind.ordered for kind in kinds):
            made[name] = union_categoricals(each, sort_categories=True)
            continue
        known = {column.dtype for column in each if column.notna().any()}
        if len(known) == 1 and getattr(kind := known.pop(), "kind", "O") not in "biu":
            filled = [
                part.astype({name: kind}) if name in part and part[name].isna().all() else part
                for part in filled
            ]
    return pd.concat(filled, ignore_index=True).assign(**made)


def origins(spec: Any, accepted: Any, cleaned: Any, absent: Mapping[Any, list[str]] = NONE) -> Any:
    """Position in the accepted rows of each clean row of one day, or None: see ``follow_rows``."""
    if user_of(spec.problem) or cleaned.empty:
        return None
    day = cleaned["day"].iloc[0]
    today = accepted[accepted["day"] == day]
    own = today.reset_index(drop=True).drop(columns=absent.get(day, []))
    places = follow_rows(spec, own, cleaned)
    return None if places is None else today.index[places]


def follow_rows(spec: Any, rows: Any, cleaned: Any) -> Any:
    """Position of the accepted row that each clean row of one day was made of.

    ``clean`` runs again on the same rows with a mark on each: in the index, in a column of a name
    that no column has, or in the time of ``day``, which is midnight. So a mark outlives a filter,
    another order, changed columns, a reset index, a join and a choice of columns. It counts only
    where the clean rows are otherwise the same, and each has the mark of another accepted row.

    Args:
        spec: The model.
        rows: Accepted rows of one day, with a fresh index.
        cleaned: What ``clean_day`` makes of them.

    Returns:
        None where ``clean`` makes new rows, such as sums of several.
    """
    import numpy as np
    import pandas as pd
    from pandas.util import hash_array

    if not spec.clean:
        return np.arange(len(rows))
    rows = as_read_alone(spec, rows)
    marks = pd.Index((hash_array(np.arange(len(rows))) >> 1).astype("int64"))
    for carried in (_in_the_index, _in_a_column, _in_the_day):
        try:
            made, found = carried(spec.clean, rows, marks)
        except Exception as error:  # whatever clean makes of a frame that has the marks in it
            log.debug("clean does not keep marks %s: %r", carried.__name__, error)
            continue
        made = made.reset_index(drop=True)
        places = marks.get_indexer(pd.Index(found))
        known = (places >= 0).all() and len(np.unique(places)) == len(places)
        if known and made.equals(cleaned.reset_index(drop=True)):
            return places
    return None


def _in_the_index(clean: Callable[[Any], Any], rows: Any, marks: Any) -> tuple[Any, Any]:
    made = clean(rows.set_axis(marks))
    made = made[made["day"] == rows["day"].iloc[0]]
    return made, made.index


def _in_a_column(clean: Callable[[Any], Any], rows: Any, marks: Any) -> tuple[Any, Any]:
    name = "nightly row"
    while name in rows:
        name += "_"
    made = clean(rows.assign(**{name: marks}))
    made = made[made["day"] == rows["day"].iloc[0]]
    return made.drop(columns=name), made[name]


def _in_the_day(clean: Callable[[Any], Any], rows: Any, marks: Any) -> tuple[Any, Any]:
    """The mark is the microsecond of the day: as many as there are rows."""
    import numpy as np
    import pandas as pd

    midnight, order = rows["day"].iloc[0], np.arange(1, len(rows) + 1)
    marked = rows["day"].astype("datetime64[us]") + pd.to_timedelta(order, unit="us")
    made = clean(rows.assign(day=marked))
    made = made[made["day"].dt.normalize() == midnight]
    place = (made["day"] - midnight) // pd.Timedelta(1, unit="us") - 1
    return made.assign(day=made["day"].dt.normalize().astype(rows["day"].dtype)), marks[place]


def answer_days(
    spec: Any,
    estimator: Any,
    accepted: Any,
    stamps: list[Any],
    absent: Mapping[Any, list[str]] = NONE,
) -> Any:
    """Scores of the requests of some days, each from the history before it.

    Args:
        spec: The model.
        estimator: Its fitted estimator.
        accepted: Accepted rows of these days and of their history.
        stamps: The days; one without rows has no requests.
        absent: As for ``clean_each``.
    """
    import pandas as pd

    parts = clean_each(spec, accepted, absent)
    same, every = len({tuple(rows) for rows in parts.values()}) == 1, below([*parts.values()])
    found = []
    for stamp in stamps:
        if (today := parts.get(stamp)) is None:
            continue
        origin, past = origins(spec, accepted, today, absent), every
        if same:
            today = every[every["day"] == stamp]
        else:  # a column that only other days have is none of this one
            own = [rows for day, rows in parts.items() if stamp - spec.lookback <= day < stamp]
            past = below(own or [today])
        past = history_of(spec, past, stamp)
        found.append(answer_day(spec, estimator, today, past, stamp, origin))
    return pd.concat(found, ignore_index=True)


def answer_day(
    spec: Any, estimator: Any, today: Any, past: Any, stamp: Any, origin: Any = None
) -> Any:
    """Scores of one day's requests, from the history before that day.

    Args:
        spec: The model.
        estimator: Its fitted estimator.
        today: Clean rows of the day.
        past: Its history, from ``history_of``.
        stamp: The day.
        origin: The raw row of each clean row of the day, from ``origins``; None where unknown.
    """
    import pandas as pd

    requests = spec.problem.requests(today.reset_index(drop=True), spec.known_ahead)
    made = make_features(spec, requests, past)
    scores = spec.problem.score(estimator, inputs_from(spec.problem, made))
    user = user_of(spec.problem)
    keys = made[[user, spec.problem.item]] if user else _named_rows(spec, requests, made, origin)
    named = {"score": scores}
    if scores.ndim > 1:
        named = dict(zip(spec.problem.score_columns, scores.T, strict=True))
    return pd.DataFrame({"day": stamp, **keys, **named})


def _named_rows(spec: Any, requests: Any, made: Any, origin: Any) -> dict[str, Any]:
    """Which raw row each prediction is for, -1 where none is known, and its key."""
    import numpy as np

    lost = origin is None
    rows = np.full(len(made), -1) if lost else np.asarray(origin, dtype="int64")[made.index]
    key = [name for name in getattr(spec.problem, "key", ()) if name in requests]
    named = {KEY.format(place): requests[name] for place, name in enumerate(key)}
    return {"row": rows, **{name: values[made.index] for name, values in named.items()}}


def answer_ahead(
    spec: Any,
    estimator: Any,
    cleaned: Any,
    named: Any,
    stamp: Any,
    keep: int,
    key: list[str] | None = None,
) -> tuple[Any, Any]:
    """The predictions the app reads for a future day, and the inputs they were made from.

    Args:
        spec: The model.
        estimator: Its fitted estimator.
        cleaned: Clean rows, ascending by ``day``.
        named: Raw rows of the requests, or None where the spec defines none.
        stamp: The day.
        keep: Most rows of inputs to return; None is returned instead of more.
        key: Columns by which the app looks a row up now, where the version's own may be others.

    Raises:
        ValueError: Where the requests lack a column of the key.
    """
    import pandas as pd

    past, problem = days_before(spec, cleaned, stamp), spec.problem
    asked = clean_requests(spec, named, stamp) if named is not None else None
    requests = problem.ask(asked, past, spec.known_ahead)
    if "day" in requests:  # of the calendar, where the history does not end the day before
        stamps = pd.Series(stamp, index=requests.index, dtype="datetime64[s]")
        requests = requests.assign(day=stamps)
    known = hide_unknown(spec, past)
    answers: list[Any] = []
    inputs: list[Any] = []
    rows = 0
    for part, seen in split_requests(spec, requests, known):
        answered, made = answer_batch(spec, estimator, seen, part)
        answers.append(answered)
        rows += len(made)
        inputs = [*inputs, made] if rows <= keep else []
    anyone = problem.ask_for_anyone(requests, past)
    if anyone is not None:
        [(part, seen)] = split_requests(spec, anyone, known)
        answered, made = answer_batch(spec, estimator, seen, part)
        answers.append(for_anyone(answered, problem.user))
        rows += len(made)
        inputs.append(for_anyone(made, problem.user))
    kept = pd.concat(inputs, ignore_index=True) if rows <= keep else None
    found = pd.concat(answers, ignore_index=True)
    own = list(getattr(problem, "key", ()))
    if asked is not None and key is not None and key != own:
        found = _keyed_anew(found, own, asked, key)
    return found, kept


def _keyed_anew(found: Any, own: list[str], asked: Any, key: list[str]) -> Any:
    """The predictions of the requests, in their order, with another key."""
    import pandas as pd

    if absent := [name for name in key if name not in asked]:
        raise ValueError(
            f"problem.key: found {absent[0]!r}, which the requests do not have as the version "
            "cleans them; expected columns that it keeps"
        )
    scores = found.drop(columns=[*own, *key], errors="ignore")
    return pd.concat([asked[key].reset_index(drop=True), scores], axis=1)


def for_anyone(rows: pd.DataFrame, user: str) -> pd.DataFrame:
    """Rows of an unknown user turned into rows for everyone else: no user, kind ``popular``."""
    import pandas as pd

    whole = pd.api.types.is_integer_dtype(rows[user])
    nobody = pd.array([pd.NA] * len(rows), dtype="Int64") if whole else None
    kind = {"kind": "popular"} if "kind" in rows else {}
    return rows.assign(**{user: nobody}, **kind)


def inputs_from(problem: Any, made: Any) -> Any:
    """The inputs of an estimator, from features; one of a name of ours is told from the outcome."""
    ours = ("target", "relevant") if user_of(problem) else ("target",)
    own = {name: f"{name} (input)" for name in ours}
    return problem.inputs(made.drop(columns="day", errors="ignore").rename(columns=own))


def user_of(problem: Any) -> str | None:
    """Column that names the user, where items are ranked for users; else None.

    That is what ``Problem.user_column`` says. It is not asked here: this file also runs beside the
    packaged code of older versions, whose problems do not have it.
    """
    return getattr(problem, "user", None)


def history_of(spec: Any, cleaned: Any, stamp: Any) -> Any:
    """What a day's features may see of clean rows ascending by ``day``: what was known before it.

    Where nothing is known later than its day nothing is copied.
    """
    return hide_unknown(spec, days_before(spec, cleaned, stamp))


def days_before(spec: Any, cleaned: Any, stamp: Any) -> Any:
    """The clean rows of a day's lookback that its night has, of rows ascending by ``day``."""
    import pandas as pd

    after = _open_day_before(spec, stamp) + pd.Timedelta(days=1)
    first, last = cleaned["day"].searchsorted([stamp - spec.lookback, after])
    return cleaned.iloc[first:last].reset_index(drop=True)


def _open_day_before(spec: Any, stamp: Any) -> Any:
    """The last day that the night has that predicts a day: the one before, or the last open one.

    Where the source shows the calendar closed days have no rows, and need not be told.
    """
    import pandas as pd

    before, calendar = stamp - pd.Timedelta(days=1), getattr(spec, "calendar", None)
    return before if calendar is None else pd.Timestamp(calendar.last_open(before.date()))


def hide_unknown(spec: Any, past: Any) -> Any:
    """The rows before a day as the night knew them that predicts it.

    That night runs after the last day of the rows (``night_after``): what is known only after it
    is missing. Labels are final ``label_delay`` after their day, as ``split_days`` has it: those of
    days so long before the last one. Of the others the target and what ``late`` names are missing.
    Whole numbers and flags become ``float64``, also on days of which all is known. A row
    of a recommendation is itself a label: it is left out as long as it is not final.

    Args:
        spec: The model; one made before there was ``late`` has no further late columns.
        past: Clean rows ascending by ``day``, all before the day.
    """
    import numpy as np

    evening = past["day"].max()
    if len(past) and any(late_columns(spec)):
        past = hide_after(spec, past, night_after(spec, evening))
    if not spec.label_delay:
        return past
    final = past["day"].searchsorted(evening - spec.label_delay, side="right")
    target = getattr(spec.problem, "target", None)
    if target is None:
        return past.iloc[:final]
    late = [name for name in (target, *late_columns(spec)[None]) if name in past]
    open_ = np.arange(final, len(past))
    return past.assign(**{name: _without(past[name], open_) for name in late})


def late_columns(spec: Any) -> dict[str | None, list[str]]:
    """The columns of ``late`` by the column of moments from which each is known; None: the label's.

    A moment is known when it has come: it is one of its own columns, unless it is known ahead.
    """
    late = getattr(spec, "late", ())
    found: dict[str | None, list[str]] = {None: []}
    for name in late:
        found.setdefault(late[name] if isinstance(late, Mapping) else None, []).append(name)
    for moment, names in found.items():
        if moment is not None and moment not in (*late, *spec.known_ahead):
            names.append(moment)
    return found


def night_after(spec: Any, evening: Any) -> Any:
    """When the night of an as-of date runs, in the wall-clock time of the model's time zone.

    At the first ``night_start`` from the end of the day on, or, where there is none, at its end.

    Args:
        spec: The model.
        evening: The as-of date, as a timestamp at midnight.
    """
    import pandas as pd

    day = pd.Timedelta(days=1)
    end = evening + day + pd.Timedelta(f"{getattr(spec.source, 'day_start', '00:00')}:00")
    clock = getattr(spec, "night_start", None)
    if clock is None:
        return end
    night = end.normalize() + pd.Timedelta(f"{clock}:00")
    return night if night >= end else night + day


def hide_after(spec: Any, rows: Any, night: Any) -> Any:
    """The rows with what is known only after a moment missing; the index stays.

    Args:
        spec: The model.
        rows: Clean rows.
        night: The moment, as wall-clock time of the model's time zone.
    """
    import numpy as np

    hidden: dict[str, Any] = {}
    for moment, names in late_columns(spec).items():
        if moment is None or moment not in rows:
            continue
        after = np.flatnonzero(comes_after(spec, rows[moment], night))
        hidden |= {
            name: _without(rows[name], after)
            for name in names
            if name in rows and (len(after) or _is_whole(rows[name]))
        }
    return rows.assign(**hidden) if hidden else rows


def comes_after(spec: Any, moments: Any, night: Any) -> Any:
    """Which moments come after the night; a missing one does not.

    A night at an hour that happens twice, as the clock is put back, runs the first time, and a
    moment without a time zone in that hour is taken for the second. A night at an hour that is
    left out runs as the clock goes on.

    Args:
        spec: The model.
        moments: With a time zone, or as wall-clock time of the model's.
        night: As wall-clock time of the model's time zone.

    Returns:
        Flags, shape (moments,).
    """
    import numpy as np

    def localized(first: bool) -> Any:
        return night.tz_localize(spec.timezone, ambiguous=first, nonexistent="shift_forward")

    begins = localized(first=True)
    if getattr(moments.dtype, "tz", None) is None:
        if begins == localized(first=False):
            return (moments > night).to_numpy()
        second = np.zeros(len(moments), dtype=bool)
        moments = moments.dt.tz_localize(
            spec.timezone, ambiguous=second, nonexistent="shift_forward"
        )
    return (moments > begins).to_numpy()


def on_the_wall(spec: Any, moments: Any) -> Any:
    """Moments as wall-clock time of the model's time zone; those without a time zone are that."""
    if getattr(moments.dtype, "tz", None) is None:
        return moments
    return moments.dt.tz_convert(spec.timezone).dt.tz_localize(None)


def _without(column: Any, places: Any) -> Any:
    """The column with the values at some places missing."""
    import numpy as np

    left = column.astype("float64") if _is_whole(column) else column.copy()
    left.iloc[places] = np.nan
    return left


def _is_whole(column: Any) -> bool:
    import numpy as np

    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu"


def make_features(spec: Any, requests: Any, past: Any) -> Any:
    """The features of one day's requests, made part by part."""
    import pandas as pd

    if requests.empty:
        return frame_of(spec.features(requests, past))
    parts = split_requests(spec, requests, past)
    made = [frame_of(spec.features(part, seen)) for part, seen in parts]
    return made[0] if len(made) == 1 else pd.concat(made, ignore_index=True)


def frame_of(found: Any) -> Any:
    """What a function of the spec has returned.

    Raises:
        TypeError: Where that is no frame.
    """
    if not hasattr(found, "columns"):
        raise TypeError(f"found {type(found).__name__} as its answer, expected a DataFrame")
    return found


def split_requests(spec: Any, requests: Any, past: Any) -> Iterator[tuple[Any, Any]]:
    """One day's requests in parts, each with the history that its features see.

    Where a recommendation's history is of more than ``CROWD`` users, a part sees that of ``CROWD``:
    its own, and others drawn in a random order that is the same every night. So time and memory of
    a part do not grow with the number of users, and what is counted over all users has the same
    level in training and in predictions.
    """
    import pandas as pd
    from pandas.util import hash_array

    parts, user = spec.problem.batches(requests), user_of(spec.problem)
    code, users = pd.factorize(past[user]) if user else ((), ())
    if len(users) <= CROWD:
        yield from ((part, past) for part in parts)
        return
    by_chance = hash_array(users.to_numpy()).argsort(kind="stable")
    for part in parts:
        seen = users.isin(part[user])
        others = by_chance[~seen[by_chance]]
        seen[others[: max(CROWD - seen.sum(), 0)]] = True
        yield part, past[seen[code]].reset_index(drop=True)


def answer_batch(spec: Any, estimator: Any, past: Any, requests: Any) -> tuple[Any, Any]:
    """Predictions for some requests, and the inputs they were made from with their key columns."""
    problem = spec.problem
    made = spec.features(requests, past)
    made = made.drop(columns="day", errors="ignore")
    scores = problem.score(estimator, inputs_from(problem, made))
    named = [name for name in problem.answer_keys if name in requests and name not in made]
    inputs = made.join(requests[named])[[*named, *made.columns]] if named else made
    return problem.answers(requests, made, scores), inputs


def clean_requests(spec: Any, named: Any, stamp: Any) -> Any:
    """Requests as clean rows; columns that are known only later are missing values.

    Raises:
        ValueError: Where a column named in ``known_ahead`` is missing.
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
