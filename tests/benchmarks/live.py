"""Nights in a row, as the app lives through them: what was promised, and what the day brought.

    PYTHONPATH=. python tests/benchmarks/live.py --model flights --nights 30 --home /tmp/live

The retrain flow runs once for each as-of date, and once more for the last day's labels, in this
process and without Prefect's engine (``tests/inline.py``); packages are loaded in clean processes
as ever. The home is kept, with the page of its nights under ``reports/``; a run that was cut off
goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any


def run_nights(model: str, first: date, nights: int, home: Path) -> Iterator[dict[str, Any]]:
    """The report of each night, in turn."""
    os.environ |= {
        "NIGHTLY_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    from tasks.clean_process.template import leave_template
    from tasks.cli.environment import set_defaults

    set_defaults()
    leave_template()

    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig
    from tests.inline import without_engine

    with without_engine():
        for number in range(nights):
            as_of = first + timedelta(days=number)
            state = retrain(RetrainConfig(model=model, as_of=as_of), return_state=True)
            yield state.result()


def to_line(report: Mapping[str, Any], lived: Mapping[str, Any] | None) -> str:
    """What a night decided and promised, and how the day after it went."""
    champion = (report["champion"] or {}).get("version", "-")
    said = f"{report['as_of']}  {report['verdict']:<9}{champion:>4}"
    metric = report["metric"]
    if lived is None or metric not in lived["metrics"]:
        return f"{said}  no label"
    value, promised = lived["metrics"][metric], lived["promised"]
    before = lived["previous"].get(metric)
    return (
        f"{said}{promised['value']:>10.3f}  {promised['low']:.3f} to {promised['high']:.3f}"
        f"{value:>9.3f}{'' if is_inside(lived, metric) else '  OUTSIDE':<9}"
        f"{'' if before is None else f'{value - before:>+9.3f}'}"
        f"{lived['labelled']:>8,} of {lived['asked']:,}"
    )


def is_inside(lived: Mapping[str, Any], metric: str) -> bool:
    """Whether the day kept the promise."""
    low, high = (lived["promised"][end] for end in ("low", "high"))
    return bool(low <= lived["metrics"][metric] <= high)


def print_totals(reports: Sequence[Mapping[str, Any]], lived: Sequence[Mapping[str, Any]]) -> None:
    """How often the promise held, and what the verdicts came to."""
    metric = reports[0]["metric"]
    told = [day for day in lived if metric in day["metrics"] and day["promised"]]
    inside = sum(is_inside(day, metric) for day in told)
    verdicts = [report["verdict"] for report in reports]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in sorted(set(verdicts)))
    reverts = sum(bool(report["reverted"]) for report in reports)
    print(f"{len(reports)} nights: {counts}; {reverts} reverts")
    print(f"inside the prediction interval on {inside} of {len(told)} days")


def main() -> None:
    """Run the nights; print a line for each, and the totals."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=("flights", "groceries"), default="flights")
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2026, 10, 20))
    parser.add_argument("--home", type=Path, required=True)
    asked = parser.parse_args()
    print(f"{asked.model}, {asked.nights} nights from {asked.first}")
    print(
        f"{'as of':<12}{'verdict':<9}{'ver.':>4}{'promised':>10}  {'interval':<14}{'live':>9}"
        f"{'':<9}{'- before':>9}{'labelled':>9}"
    )
    reports: list[dict[str, Any]] = []
    lived: dict[str, dict[str, Any]] = {}
    for report in run_nights(asked.model, asked.first, asked.nights + 1, asked.home):
        lived |= {day["day"]: day for day in report["live"]}
        if reports:
            print(to_line(reports[-1], lived.get(report["as_of"])), flush=True)
        reports.append(report)
    print_totals(reports[:-1], list(lived.values()))


if __name__ == "__main__":
    main()
