"""A long step tells how far it is, and not too often."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

from tasks.steps.progress import tell_progress, time_left


@pytest.mark.parametrize("total", [1, 7, 40, 363, 10_000])
def test_progress_is_told_at_most_about_twenty_times_and_at_the_end(
    total: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="nightly")
    tell = tell_progress("clean", "days")
    for done in range(1, total + 1):
        tell(done, total)
    told = [record for record in caplog.records if record.name == "nightly"]
    assert 1 <= len(told) <= 40
    assert told[-1].getMessage().split() == ["clean", str(total), "of", str(total), "days"]
    assert (told[-1].__dict__["done"], told[-1].__dict__["total"]) == (total, total)


@pytest.mark.parametrize(
    ("spent", "done", "left"),
    [
        (10.0, 100, ""),
        (10.0, 50, ", less than a minute left"),
        (30.0, 34, ", about 1 minute left"),
        (60.0, 20, ", about 4 minutes left"),
    ],
)
def test_the_time_left_is_that_of_what_is_done(spent: float, done: int, left: str) -> None:
    assert time_left(spent, done, 100) == left


def test_inside_a_task_it_is_a_bar_on_the_runs_page(prefect_server: None) -> None:
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.runtime import flow_run

    @task
    def work() -> None:
        tell = tell_progress("clean", "days")
        for done in range(1, 41):
            tell(done, 40)

    @flow
    def story() -> UUID:
        work()
        return UUID(flow_run.id)

    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[story()]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=of_this_run)
    assert [(one.data, one.description) for one in found] == [(100.0, "clean: 40 of 40 days")]
