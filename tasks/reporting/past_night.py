"""A night that was, as frames for a notebook. It only reads, and brings copies up to date."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tasks.errors import NightlyError, RegistryError
from tasks.features.cleaning import clean_keys
from tasks.features.examples import Ends, example_keys, examples_at_night, known_by_night
from tasks.features.split import split_days
from tasks.predictions import publish
from tasks.registry import versions
from tasks.registry.client import open_registry
from tasks.reporting import archive
from tasks.spec.loading import load_spec
from tasks.store import frames, mirror
from tasks.store.files import read_json
from tasks.training import fit, tuning

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.split import Split
    from tasks.reporting.report_schema import Report
    from tasks.spec.model_spec import ModelSpec


KINDS = {"clean": "clean rows", "examples": "examples", "scores": "scores"}
"""Kinds of the store's content in words."""
NAMED = 5
"""Most nights that an error names."""


class PastNightError(NightlyError, LookupError):
    """There is no such night, or a part of it is not kept any more."""


@dataclass(frozen=True)
class PastNight:
    """A night of a model. Each frame is read when it is first asked for.

    Attributes:
        spec: The model.
        named: How it was named, as on the command line.
        as_of: As-of date.
        report: The night's ``report.json``.
        days: Every day that the night saw, with its fingerprint.
    """

    spec: ModelSpec
    named: str
    as_of: date
    report: Report
    days: Mapping[date, str]

    @cached_property
    def clean(self) -> pd.DataFrame:
        """The clean rows of all days, as the night's code made them."""
        return frames.read_days(list(self._clean_refs.values()))

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Features, ``day`` and ``target``; ``part`` says ``train`` or ``holdout``."""
        import pandas as pd

        parts = {"train": self._split.train, "holdout": self._split.holdout}
        made = [frames.read_days(self._of(days)).assign(part=part) for part, days in parts.items()]
        return pd.concat(made, ignore_index=True)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The holdout's ``day`` and ``target`` with each candidate's scores of it.

        A candidate with several scores a row has a column for each, as ``name prediction_10``.
        """
        training, held_out = self._of(self._split.train), self._of(self._split.holdout)
        found = frames.read_days(held_out, columns=["day", "target"])
        columns: Sequence[str] = self.spec.problem.score_columns
        for name in self.report["candidates"]:
            settled = tuning.recall(self.spec, name, self.as_of, training)
            parameters = settled.parameters if settled else None
            model = fit.model_key(self.spec, name, training, parameters)
            key = fit.scores_key(model, held_out)
            rows = frames.read_days(list(self._find("scores", {name: key}).values()))
            several = len(columns) > 1
            found[[f"{name} {each}" if several else name for each in columns]] = rows.to_numpy()
        return found

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """What the report says of each candidate, the champion and the baseline, with intervals."""
        import pandas as pd

        measured = {
            **{name: part["metrics"] for name, part in self.report["candidates"].items()},
            **{n: m for n, m in self.report["metrics"].items() if n != "challenger"},
        }
        return pd.DataFrame(
            [
                {"scorer": scorer, "metric": metric, **estimate}
                for scorer, metrics in measured.items()
                for metric, estimate in metrics.items()
            ],
            columns=["scorer", "metric", "value", "low", "high"],
        )

    @cached_property
    def champion(self) -> pd.DataFrame:
        """The champion after the night, in one row; empty where there was none."""
        import pandas as pd

        told = self.report["champion"]
        version = told["version"]
        if version is None:
            return pd.DataFrame(columns=["version", "candidate", "since"])
        try:
            kept = asdict(versions.read_version(open_registry(), self.spec.name, version))
        except RegistryError:  # retention has deleted it
            kept = {}
        return pd.DataFrame([{**kept, **told}])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """What was published for the day after."""
        import pandas as pd

        file = publish.folder_of(self.spec.name) / f"{self.as_of}.parquet"
        if not file.is_file():
            raise PastNightError(f"{self} published no predictions, or they are not kept any more.")
        return pd.read_parquet(file)

    def __str__(self) -> str:
        return f"The night of {self.as_of} of model {self.spec.name}"

    @cached_property
    def _clean_keys(self) -> dict[date, str]:
        return clean_keys(self.spec, self.days)

    @cached_property
    def _clean_refs(self) -> dict[date, frames.Ref]:
        return self._find("clean", self._clean_keys)

    @cached_property
    def _split(self) -> Split:
        return split_days(self.spec, list(self.days), self.as_of)

    @cached_property
    def _examples(self) -> dict[date, frames.Ref]:
        keys = example_keys(self.spec, self._clean_keys, self._split.wanted)
        return self._find("examples", keys)

    @cached_property
    def _ends(self) -> Ends:
        return known_by_night(self.spec, self.days, self._clean_refs, self._examples, self._split)

    def _of(self, days: Sequence[date]) -> list[frames.Ref]:
        """The examples of training or holdout, as their night knew them."""
        return examples_at_night(self._examples, self._ends, days)

    def _find(self, kind: str, keys: Mapping[Any, str]) -> dict[Any, frames.Ref]:
        """What the store has under these keys; all of it has to be there."""
        if not keys:
            raise PastNightError(f"{self} has kept no list of its days.")
        refs = frames.find_days(kind, list(keys.values()))
        missing = [name for name, key in keys.items() if key not in refs]
        if missing:
            raise PastNightError(
                f"{self}: the store has no {KINDS[kind]} of {missing[0]} and {len(missing) - 1:,} "
                "more: the model's code has been edited since, the night rejected them, or the "
                "store has cleared them away. Take the code of that night, or run the night again: "
                f"python flows/retrain.py --model {shlex.quote(self.named)} --as-of {self.as_of}"
            )
        return {name: refs[key] for name, key in keys.items()}


def open_night(model: str, as_of: date | str) -> PastNight:
    """The night of a date, for a notebook; nothing is written, fitted or asked of the source.

    Args:
        model: As on the command line: a name under ``deployments/``, a file or ``module:NAME``.
        as_of: Its as-of date, such as ``"2026-11-22"``.

    Raises:
        SpecError: Where there is no such model; it names those that there are.
        PastNightError: Where there is no such night; it names the newest.
    """
    spec = load_spec(model)
    mirror.pull()
    try:
        day = date.fromisoformat(str(as_of))
    except ValueError as error:
        raise PastNightError(
            f"as_of: found {as_of!r}, expected a date such as 2026-11-22."
        ) from error
    found = archive.past_reports(spec.name, day, 1)
    if not found or found[0]["as_of"] != str(day):
        there = [report["as_of"] for report in archive.past_reports(spec.name, date.max, NAMED)]
        known = f"The newest are {', '.join(there)}." if there else "It has had no night here yet."
        raise PastNightError(f"There is no night of {day} of model {spec.name}. {known}")
    kept = archive.report_folder(spec.name, day) / archive.DAYS
    seen = dict(read_json(kept)) if kept.is_file() else {}
    days = {date.fromisoformat(each): mark for each, mark in seen.items()}
    return PastNight(spec, model, day, found[0], days)
