"""Many nights replayed: does nightly retraining pay, and with which window and gate?"""

from __future__ import annotations

from tasks import command

if __name__ == "__main__":
    command.set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from tasks import rehearse
from tasks.rehearse import BacktestConfig


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def backtest(config: BacktestConfig) -> State:
    """Replay nights as if each were tonight; the champion and the registry are not touched."""
    plan = rehearse.prepare_nights(config)
    fits = [rehearse.fit_night.submit(plan, number) for number in range(len(plan.nights))]
    fitted = [fit.result() for fit in fits]

    paths = rehearse.follow_policies(plan, fitted)
    staleness = rehearse.measure_staleness(plan, fitted)
    windows = rehearse.measure_windows(plan, fitted, staleness["leader"])
    found = rehearse.publish_backtest(plan, fitted, paths, staleness, windows)
    return rehearse.end_backtest(found)


if __name__ == "__main__":
    command.run_backtest(backtest)
