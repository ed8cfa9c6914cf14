"""The night: train on fresh days, and promote a challenger that passes the gate."""

from __future__ import annotations

from tasks.cli.commands import answer_if_decided, run_retrain

if __name__ == "__main__":
    began = answer_if_decided()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.promotion.checks import Status
from tasks.steps.config import RetrainConfig
from tasks.steps.fleet import judge_partitions, open_fleet, share_error
from tasks.steps.judge import judge_night, look_for_leaks, score_champion
from tasks.steps.monitor import grade_predictions, measure_drift, revert_champion
from tasks.steps.opening import end_look, look_again, only_night, open_night
from tasks.steps.predict import deliver_predictions, publish_champion
from tasks.steps.prepare import clean_days, extract_features
from tasks.steps.release import (
    check_version,
    clean_up,
    log_night,
    promote_version,
    register_version,
)
from tasks.steps.report import end_again, end_night, publish_report
from tasks.steps.shadow import follow_shadow
from tasks.steps.task_runner import ChosenRunner
from tasks.steps.train import collect_fits, fit_candidate, leave_out, ship_challenger
from tasks.steps.waiting import begin_shadow, wait_for_person


@flow(task_runner=ChosenRunner())  # type: ignore[arg-type]
def retrain(config: RetrainConfig) -> State:
    """Retrain one model for one as-of date; the champion changes only if every check passes."""
    if config.look and not (config := look_again(config)).as_of:
        return end_look(config)
    with only_night(config.model):
        night = open_night(config)
        if night.decided:
            return end_again(night)
        if night.held:
            publish_champion(night)
            return end_night(publish_report(night))

        clean = clean_days(night)
        if clean.rejected or clean.held:
            publish_champion(night)
            return end_night(publish_report(night, clean))

        live = grade_predictions(night, clean)
        if live.worse:
            live = revert_champion(night, live)

        examples = extract_features(night, clean)
        drift = measure_drift(night, clean, examples)
        examples = leave_out(night, examples, drift)
        fits = [fit_candidate.submit(night, examples, name) for name in examples.candidates]
        champion = score_champion(night, examples)
        leaks = look_for_leaks(night, clean, examples)
        made = collect_fits(night, examples, fits)
        signs = (*leaks, drift.check)
        fleet = open_fleet(night, clean, examples)
        night = share_error(night, fleet)
        judged = judge_night(night, examples, made, champion, signs)

        if night.backfill:
            return end_night(
                publish_report(night, clean, examples, judged, None, None, live, drift)
            )

        judged, version = follow_shadow(night, clean, live, judged)
        run = log_night(night, clean, examples, judged)
        if version is None and judged.verdict.status.registers:
            shipped = ship_challenger(night, examples, judged)
            version = register_version(night, examples, judged, shipped, run)
            judged = check_version(night, examples, judged, shipped, version)
            if judged.verdict.status is Status.PROMOTED:
                judged = promote_version(night, version, judged)
            if judged.verdict.status is Status.WAITING:
                judged = wait_for_person(night, judged, version)
            if judged.verdict.status is Status.SHADOW:
                judged = begin_shadow(night, judged, version)

        parts = judge_partitions(night, clean, examples, signs, run, fleet)
        clean_up(night)
        shown = deliver_predictions(night, clean)
        report = publish_report(
            night, clean, examples, judged, run, version, live, drift, shown, parts
        )
        return end_night(report)


if __name__ == "__main__":
    run_retrain(retrain, began)
