"""The champion at work: its answers graded as labels come, itself taken back if need be."""

from __future__ import annotations

from tasks import command

if __name__ == "__main__":
    command.set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import steps, watch
from tasks.night import RetrainConfig


@flow
def monitor(config: RetrainConfig) -> State:
    """Grade past answers on labels that have come; nothing is trained."""
    with steps.only_night(config.model):
        night = steps.open_night(config)
        if night.held:
            return steps.end_held(night)
        clean = steps.clean_days(night)
        live = watch.grade_predictions(night, clean)
        if live.worse:
            live = watch.revert_champion(night, live)
        return watch.end_monitor(night, live)


if __name__ == "__main__":
    command.run_monitor(monitor)
