"""The champion's fresh answers to what the app asks of the next day."""

from __future__ import annotations

from tasks import command

if __name__ == "__main__":
    command.set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import deliver, steps
from tasks.night import RetrainConfig


@flow
def predict(config: RetrainConfig) -> State:
    """Answer what the app asks of the day after the as-of date; nothing is trained."""
    with steps.only_night(config.model):
        night = steps.open_night(config)
        if night.held:
            return steps.end_held(night)
        clean = steps.clean_days(night)
        answers = deliver.predict_ahead(night, clean)
        return deliver.end_predict(night, deliver.publish_predictions(night, answers))


if __name__ == "__main__":
    command.run_predict(predict)
