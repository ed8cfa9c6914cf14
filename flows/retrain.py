"""The night: fresh days in, a champion at least as good out."""

from __future__ import annotations

from tasks import command

if __name__ == "__main__":
    command.answer_if_decided()

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from tasks import deliver, release, steps, watch
from tasks.night import RetrainConfig


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def retrain(config: RetrainConfig) -> State:
    """Retrain one model for one as-of date; the champion changes only for the better."""
    with steps.only_night(config.model):
        night = steps.open_night(config)
        if night.decided:
            return release.end_again(night)
        if night.held:
            return release.end_night(release.publish_report(night))

        clean = steps.clean_days(night)
        if clean.rejected or clean.held:
            return release.end_night(release.publish_report(night, clean))

        live = watch.grade_predictions(night, clean)
        if live.worse:
            live = watch.revert_champion(night, live)

        examples = steps.extract_features(night, clean)
        fits = [steps.fit_candidate.submit(night, examples, name) for name in examples.candidates]
        champion = steps.score_champion(night, examples)
        leaks = steps.look_for_leaks(night, clean, examples)
        drift = watch.measure_drift(night, clean, examples)
        made = [fit.result(raise_on_failure=False) for fit in fits]
        signs = (*leaks, drift.check)
        judged = steps.judge_night(night, examples, made, champion, signs)

        run = release.log_night(night, clean, examples, judged)
        version = None
        if judged.verdict.status == "PROMOTED":
            shipped = release.refit_challenger(night, examples, judged)
            version = release.register_version(night, examples, judged, shipped, run)
            judged = release.check_version(night, examples, judged, shipped, version)
            if judged.verdict.status == "PROMOTED":
                release.promote_version(night, version)

        release.clean_up(night)
        shown = deliver.deliver_predictions(night, clean)
        report = release.publish_report(
            night, clean, examples, judged, run, version, live, drift, shown
        )
        return release.end_night(report)


if __name__ == "__main__":
    command.run_retrain(retrain)
