"""Replay of many nights: does nightly retraining pay, and with which window and gate?"""

from __future__ import annotations

from tasks.cli.commands import begin, run_backtest
from tasks.cli.parsers import backtest_parser

if __name__ == "__main__":
    begin(backtest_parser())

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.backtest import (
    end_backtest,
    fit_night,
    follow_policies,
    measure_staleness,
    measure_windows,
    prepare_nights,
    publish_backtest,
)
from tasks.steps.config import BacktestConfig
from tasks.steps.sweep import noted_run
from tasks.steps.task_runner import ChosenRunner


@flow(task_runner=ChosenRunner())  # type: ignore[arg-type]
def backtest(config: BacktestConfig) -> State:
    """Replay past nights; the champion and the registry are not changed."""
    with noted_run():
        plan = prepare_nights(config)
        fits = [fit_night.submit(plan, number) for number in range(len(plan.nights))]
        fitted = [fit.result() for fit in fits]

        paths = follow_policies(plan, fitted)
        staleness = measure_staleness(plan, fitted)
        windows = measure_windows(plan, fitted, staleness["leader"])
        found = publish_backtest(plan, fitted, paths, staleness, windows)
        return end_backtest(found)


if __name__ == "__main__":
    run_backtest(backtest)
