"""Replay of many nights; the registry and the champion are not changed."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import settings
from tasks.backtest.policies import HOUSE, POLICIES, Look, Policy
from tasks.errors import WrongInputError
from tasks.evaluation.evaluate import evaluate, evaluate_days
from tasks.features import cleaning
from tasks.features.examples import examples_at_night, known_by_night, prepare_examples
from tasks.features.split import HistoryError, split_days
from tasks.promotion.contests import Contests, count_days, proofs
from tasks.promotion.verdict import with_baselines
from tasks.shown import counted
from tasks.spec.values import EXPANDING
from tasks.store import frames
from tasks.store.files import read_json, write_json
from tasks.store.models import has_model, read_model
from tasks.training import fit, stored_fits, tuning

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation
    from tasks.spec.model_spec import ModelSpec


BLOCK = 7
"""Consecutive days resampled together, because errors of neighbouring days correlate."""
PERIODS = (7, 30)
"""Nights between two fits on the staleness curve, besides every replayed night and once."""
Tell = Callable[[int, int], None]
KINDS = ("training", "holdout", "matured", "served")
"""The days of a replayed night, in the order of its attributes."""


class BacktestError(WrongInputError, ValueError):
    """The requested nights cannot be replayed; the message says which can."""


@dataclass(frozen=True)
class ReplayedNight:
    """One night as it would have been.

    Attributes:
        as_of: Its date.
        training: Training examples of its twins.
        holdout: Holdout examples, unseen by the twins.
        matured: Training examples of the model it ships.
        served: Examples of the days after it, up to the next replayed night.
    """

    as_of: date
    training: tuple[frames.Ref, ...]
    holdout: tuple[frames.Ref, ...]
    matured: tuple[frames.Ref, ...]
    served: tuple[frames.Ref, ...]


@dataclass(frozen=True)
class Fitted:
    """Models of one replayed night, by candidate: keys in the store."""

    twins: Mapping[str, str]
    shipped: Mapping[str, str]


@dataclass(frozen=True)
class Path:
    """What a policy did over the replayed nights.

    Attributes:
        champions: After each night, the recipe of the champion and the night that made it.
        promotions: Nights after the first on which the champion changed.
        switches: Promotions to another recipe.
    """

    champions: tuple[tuple[str, int], ...]
    promotions: int
    switches: int


def list_nights(
    listed: Sequence[date], label_delay: timedelta, nights: int, every: int
) -> list[date]:
    """As-of dates of the replayed nights, ascending; the days after the last one are scored too.

    Args:
        listed: Days of the source, ascending; the last one is the newest whose data may be used.
        label_delay: How long after its day a label is final.
        nights: How many nights.
        every: How many days, of those that the source has, between two of them.

    Raises:
        BacktestError: Where the source has fewer days.
    """
    final = [day for day in listed if day <= listed[-1] - label_delay]
    if len(final) <= nights * every:
        raise BacktestError(
            f"The history is too short: the source has {counted(len(final), 'day')} with final "
            f"labels, but {nights} nights, {counted(every, 'day')} from one to the next, need more "
            f"than {nights * every}. Choose a smaller --nights."
        )
    return final[-1 - nights * every : -every : every]


def prepare_nights(
    spec: ModelSpec, nights: Sequence[date], every: int, as_of: date, tell: Tell | None = None
) -> list[ReplayedNight]:
    """Clean the days of all nights and extract their features, new days only.

    An expanding window begins on the same day on every night, a finite one moves with the nights.

    Args:
        spec: The model.
        nights: Their as-of dates, ascending.
        every: How many days of the source between two of them.
        as_of: Last day whose data may be used.
        tell: Called after each night.

    Raises:
        BacktestError: Where the history is too short for the first night, with how many fit.
        ContractError: Where a day breaks the contract as a whole.
    """
    refs: dict[date, frames.Ref] = {}
    parts: list[list[tuple[frames.Ref, ...]]] = []
    for done, night in enumerate([*nights, as_of], start=1):
        days = _days_of(spec, night, as_of)
        try:
            split = split_days(spec, list(days), night)
        except HistoryError as error:
            raise BacktestError(
                f"The first replayed night would be {nights[0]}, and on {night} the history is "
                f"too short: {error} Choose a smaller --nights."
            ) from error
        clean = cleaning.clean_days(spec, days)
        days = {day: mark for day, mark in days.items() if day in clean.refs}
        wanted = [d for d in (*split.train, *split.holdout, *split.refit) if d in clean.refs]
        found, _ = prepare_examples(spec, days, clean.refs, sorted(set(wanted)))
        refs |= found
        ends = known_by_night(spec, days, clean.refs, found, split)
        kept = (
            [d for d in part if d in found] for part in (split.train, split.holdout, split.refit)
        )
        parts.append([tuple(examples_at_night(found, ends, part)) for part in kept])
        if tell:
            tell(done, len(nights) + 1)

    known = list(_days_of(spec, as_of, as_of))

    def of(days: Sequence[date]) -> tuple[frames.Ref, ...]:
        return tuple(refs[day] for day in days if day in refs)

    return [
        ReplayedNight(
            as_of=night,
            training=training,
            holdout=holdout,
            matured=matured,
            served=of([day for day in known if day > night][:every]),
        )
        for night, (training, holdout, matured) in zip(nights, parts, strict=False)
    ]


def needed_days(
    spec: ModelSpec, nights: Sequence[date], as_of: date
) -> tuple[dict[date, str], list[date]]:
    """The days with their fingerprints that ``prepare_nights`` cleans, and those it takes features
    of; of a night with too little history none."""
    every: dict[date, str] = {}
    wanted: set[date] = set()
    for night in [*nights, as_of]:
        days = _days_of(spec, night, as_of)
        every |= days
        with suppress(HistoryError):
            split = split_days(spec, list(days), night)
            wanted |= {*split.train, *split.holdout, *split.refit}
    return dict(sorted(every.items())), sorted(wanted)


def fit_night(spec: ModelSpec, night: ReplayedNight) -> Fitted:
    """Fit twins and shipped models of every candidate as that night would have; reuse stored fits.

    Raises:
        FitError: Where a candidate cannot be fitted.
    """
    keys: dict[str, dict[str, str]] = {"twins": {}, "shipped": {}}
    for kind, refs in (("twins", night.training), ("shipped", night.matured)):
        for name in spec.candidates:
            keys[kind][name] = _fitted(spec, night, name, refs)
    return Fitted(**keys)


def fit_window(spec: ModelSpec, night: ReplayedNight, candidate: str, days: int) -> str:
    """Key of the shipped model trained on only this many of the last matured days."""
    return _fitted(spec, night, candidate, night.matured[-days:])


def _fitted(
    spec: ModelSpec, night: ReplayedNight, candidate: str, refs: Sequence[frames.Ref]
) -> str:
    """Key of a candidate fitted with the parameters of that night."""
    found = tuning.settle(spec, candidate, night.as_of, night.training)
    key = fit.model_key(spec, candidate, refs, found.parameters)
    if not has_model("models", key):
        stored_fits.fit_and_keep(spec, candidate, refs, found.parameters)
    return key


def windows_to_try(nights: Sequence[ReplayedNight]) -> list[int]:
    """Shorter windows to compare: a half and a quarter of the shortest night's training days."""
    shortest = min(len(night.matured) for night in nights)
    return [length for length in (shortest // 2, shortest // 4) if length >= 2]


def look_at(
    spec: ModelSpec, night: ReplayedNight, fitted: Fitted, others: Mapping[str, str]
) -> tuple[Evaluation, dict[str, dict[str, float]]]:
    """Evaluation on one night's holdout: its twins, the baseline, and other models by name.

    Returns:
        The evaluation, and each scorer's primary metric on each day alone.
    """
    holdout = fit.read_examples(night.holdout)
    models = {**fitted.twins, **others}
    scores = {name: says(spec, key, night.holdout) for name, key in models.items()}
    training = frames.read_days(night.training, columns=["day", "target"])
    scores = with_baselines(spec, scores, training, holdout)
    figures = evaluate(
        spec.problem,
        holdout,
        scores,
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )
    return figures, evaluate_days(spec.problem, holdout, scores)


def follow_policies(
    spec: ModelSpec,
    nights: Sequence[ReplayedNight],
    fitted: Sequence[Fitted],
    tell: Tell | None = None,
    policies: Mapping[str, Policy] = POLICIES,
) -> dict[str, Path]:
    """What each policy would have done, night after night.

    Args:
        spec: The model.
        nights: The replayed nights, ascending.
        fitted: Their models.
        tell: Called after each night.
        policies: The policies by name, among them the house's.
    """
    paths: dict[str, list[tuple[str, int]]] = {name: [] for name in policies}
    contests: Contests | None = None
    for index, night in enumerate(nights):
        held = {name: path[-1] for name, path in paths.items() if path}
        others = {_version(*at): fitted[at[1]].twins[at[0]] for at in held.values()}
        figures, daily = look_at(spec, night, fitted[index], others)
        last_day = {name: list(values.values())[-1] for name, values in daily.items()}
        recipe = held.get(HOUSE, ("", 0))[0]
        if recipe in daily:
            contests = count_days(
                contests,
                daily,
                recipes=list(spec.candidates),
                against=recipe,
                opponent=recipe,
                greater=spec.problem.greater_is_better,
            )
        proven = proofs(contests, recipe, spec.gate.recipe_confidence)
        for name, decide in policies.items():
            at = held.get(name)
            look = Look(
                figures,
                last_day,
                list(spec.candidates),
                _version(*at) if at else None,
                at[0] if at else None,
                spec.gate,
                proven if name == HOUSE else {},
                spec.baseline,
            )
            chosen = decide(look)
            if chosen is None and at is None:
                chosen = next(iter(spec.candidates))
            paths[name].append((chosen, index) if chosen else held[name])
        if tell:
            tell(index + 1, len(nights))
    return {name: _path(champions) for name, champions in paths.items()}


def measure(
    spec: ModelSpec, nights: Sequence[ReplayedNight], served_by: Mapping[str, Sequence[str]]
) -> Evaluation:
    """Evaluation of every serving policy on the same days, with intervals over blocks of days.

    Args:
        spec: The model.
        nights: The replayed nights.
        served_by: Name to the key of the model that serves after each night.
    """
    refs = [ref for night in nights for ref in night.served]
    examples = frames.read_days(refs)
    days = examples["day"].nunique()
    return evaluate(
        spec.problem,
        examples,
        {name: served_scores(spec, nights, keys) for name, keys in served_by.items()},
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
        block=BLOCK if days >= 4 * BLOCK else 1,
    )


def refit_every(period: int | None, nights: int, every: int) -> list[int]:
    """Index of the newest fit on each replayed night; a period of None fits on the first only.

    Args:
        period: Days between two fits.
        nights: How many nights are replayed.
        every: Days between two replayed nights.
    """
    step = nights if period is None else max(1, round(period / every))
    return [index - index % step for index in range(nights)]


def says(spec: ModelSpec, key: str, refs: Sequence[frames.Ref]) -> np.ndarray:
    """Scores of these examples from the stored model of a key."""
    return fit.score(spec, f"Stored model {key[:12]}", _model(spec, key), fit.read_examples(refs))


@functools.lru_cache(maxsize=32)
def _model(spec: ModelSpec, key: str) -> Any:
    return read_model("models", key, fit.trusted_types(spec))


def served_scores(
    spec: ModelSpec, nights: Sequence[ReplayedNight], keys: Sequence[str]
) -> np.ndarray:
    """Scores of all served examples, each night's by the model of its key."""
    parts: list[np.ndarray] = []
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or keys[stop] != keys[start]:
            refs = [ref for night in nights[start:stop] for ref in night.served]
            if refs:
                examples = frames.read_days(refs)
                parts.append(
                    fit.score(
                        spec,
                        f"Stored model {keys[start][:12]}",
                        _model(spec, keys[start]),
                        examples,
                    )
                )
            start = stop
    return np.concatenate(parts)


def _days_of(spec: ModelSpec, night: date, end: date) -> dict[date, str]:
    listed = spec.source.list_days(end if spec.window == EXPANDING else night)
    return {day: mark for day, mark in listed.items() if day <= night and day not in spec.skip}


def _version(recipe: str, made: int) -> str:
    return f"{recipe} of night {made}"


def _path(champions: Sequence[tuple[str, int]]) -> Path:
    changes = [
        (before, after) for before, after in itertools.pairwise(champions) if before != after
    ]
    switches = sum(before[0] != after[0] for before, after in changes)
    return Path(tuple(champions), len(changes), switches)


@dataclass(frozen=True)
class Plan:
    """What is replayed: small, as every task of a night is handed it.

    Attributes:
        model: The model as named on the command line.
        as_of: Last day whose data may be used.
        every: Days between two nights.
        file: Name of the file to which ``keep_nights`` wrote the nights; its folder may have
            another path for another process.
    """

    model: str
    as_of: date
    every: int
    file: str

    @property
    def nights(self) -> tuple[ReplayedNight, ...]:
        """The nights with their examples, ascending; read once by a process."""
        return read_nights(self.file)


def nights_file(name: str) -> pathlib.Path:
    """The file to which ``keep_nights`` wrote nights."""
    return settings.home() / "store" / "replays" / name


def keep_nights(nights: Sequence[ReplayedNight]) -> str:
    """Write the nights to a file, each day once; gives its name."""
    every = dict.fromkeys(ref for night in nights for kind in KINDS for ref in getattr(night, kind))
    place = {ref: index for index, ref in enumerate(every)}
    content = {
        "refs": [asdict(ref) for ref in every],
        "nights": [
            {"as_of": night.as_of.isoformat()}
            | {kind: [place[ref] for ref in getattr(night, kind)] for kind in KINDS}
            for night in nights
        ],
    }
    mark = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    write_json(nights_file(f"{mark}.json"), content)
    return f"{mark}.json"


@functools.lru_cache(maxsize=1)
def read_nights(file: str) -> tuple[ReplayedNight, ...]:
    """The nights that ``keep_nights`` wrote."""
    content = read_json(nights_file(file))
    refs = [frames.Ref(**fields) for fields in content["refs"]]
    return tuple(
        ReplayedNight(
            date.fromisoformat(night["as_of"]),
            *(tuple(refs[index] for index in night[kind]) for kind in KINDS),
        )
        for night in content["nights"]
    )
