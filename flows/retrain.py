"""The night: fresh days in, at least as good a champion out."""

from __future__ import annotations

from tasks import decided

if __name__ == "__main__":
    decided.answer_and_exit()

from prefect import flow
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner

from tasks import steps
from tasks.night import RetrainConfig


@flow(
    name="retrain",
    flow_run_name=steps.name_run,
    task_runner=ThreadPoolTaskRunner(max_workers=2),
    persist_result=False,
)
def retrain(config: RetrainConfig) -> State:
    """Retrain one model for one as-of date; the champion changes only for the better."""
    night = steps.open_night(config)
    if night.held:
        return steps.hold(night)

    clean = steps.clean_days(night)
    if clean.rejected:
        return steps.reject(night, clean)

    examples = steps.extract_features(night, clean)
    fits = [steps.fit_candidate.submit(night, examples, name) for name in examples.candidates]
    champion = steps.score_champion(night, examples)
    verdict = steps.judge_night(night, examples, [fit.result() for fit in fits], champion)

    run = steps.log_night(night, examples, verdict)
    if verdict.promoted:
        shipped = steps.refit_challenger(night, examples, verdict)
        version = steps.register_version(night, examples, verdict, shipped, run)
        steps.promote_version(night, version)
    return steps.publish_report(night, ...)
