"""The champion's predictions for the app's requests of the next day."""

from __future__ import annotations

from tasks.cli.commands import begin, run_predict
from tasks.cli.parsers import predict_parser

if __name__ == "__main__":
    begin(predict_parser())

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.config import RetrainConfig
from tasks.steps.opening import end_held, only_night, open_night
from tasks.steps.predict import end_predict, predict_ahead, publish_predictions
from tasks.steps.prepare import clean_days


@flow
def predict(config: RetrainConfig) -> State:
    """Publish predictions for the day after the as-of date; nothing is trained."""
    with only_night(config.model):
        night = open_night(config)
        if night.held:
            return end_held(night)
        clean = clean_days(night)
        answers = predict_ahead(night, clean)
        return end_predict(night, publish_predictions(night, answers))


if __name__ == "__main__":
    run_predict(predict)
