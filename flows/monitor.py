"""Monitoring: past predictions graded as labels arrive, and a worse champion reverted."""

from __future__ import annotations

from tasks.cli.commands import begin, run_monitor
from tasks.cli.parsers import monitor_parser

if __name__ == "__main__":
    begin(monitor_parser())

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.config import RetrainConfig
from tasks.steps.fleet import refuse_fleet
from tasks.steps.monitor import end_monitor, grade_predictions, revert_champion
from tasks.steps.opening import end_held, only_night, open_night
from tasks.steps.predict import publish_after_revert, publish_champion
from tasks.steps.prepare import clean_days


@flow
def monitor(config: RetrainConfig) -> State:
    """Grade past predictions on labels that have arrived; nothing is trained."""
    refuse_fleet(config.model, "its predictions are not graded: they are of several models")
    with only_night(config.model):
        night = open_night(config)
        if night.held:
            return end_held(night)
        clean = clean_days(night)
        live = grade_predictions(night, clean)
        if live.worse:
            live = revert_champion(night, live)
        shown = publish_after_revert(night, clean) if live.has_reverted else publish_champion(night)
        return end_monitor(night, live, shown)


if __name__ == "__main__":
    run_monitor(monitor)
