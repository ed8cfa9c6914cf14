"""The runs of a night in MLflow: a parent for the night, a child for each candidate."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings
from tasks.registry.client import repeats_requests
from tasks.registry.one_session import one_session_of_runs
from tasks.registry.versions import (
    RETIRED,
    delete_artifacts,
    delete_packages,
    versions_of_night,
)
from tasks.shown import hide
from tasks.spec.fleet import fleet_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


log = logging.getLogger("nightly")
AS_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow show an experiment as model training; its default is generative AI."""
TRAINING_PAGES = "workflowType=machine_learning"
"""In an address: MLflow's pages for model training instead of those for generative AI."""
NIGHTS = "nights"
"""Name of the view that lists the nights of a model."""
COLUMNS = ("as_of", "interval", "verdict")
"""Tags of a night's run that this list shows."""


@dataclass(frozen=True)
class ChildRun:
    """What MLflow keeps of one candidate."""

    candidate: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class NightRun:
    """What MLflow keeps of one night.

    Attributes:
        model: Registered model.
        as_of: As-of date.
        night: Key of the night's inputs; it identifies the half-written run of a killed night.
        tags: ``judged`` (the verdict before the package is checked), links, commit and the like.
        params: Parameters of the night.
        metrics: Figures of the night.
        children: Its candidates.
        days: The data: name, fingerprint and place, logged as dataset input; empty for none.
        parent: The run of the fleet's night, for that of one of its partitions.
    """

    model: str
    as_of: date
    night: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    children: Sequence[ChildRun]
    days: Mapping[str, str]
    parent: str | None = None


def role_metrics(
    measured: Mapping[str, Mapping[str, Mapping[str, float]]], challenger: str
) -> dict[str, float]:
    """The night's figures by role, each with its interval: ``champion_log_loss_low``.

    Args:
        measured: Scorer to metric to ``value``, ``low`` and ``high``.
        challenger: The scorer whose figures have no prefix.
    """
    roles = {"": challenger, "champion_": "champion", "baseline_": "baseline"}
    return {
        f"{prefix}{metric}{end}": estimate[part]
        for prefix, name in roles.items()
        for metric, estimate in measured.get(name, {}).items()
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def git_commit() -> str:
    """Commit of the project, with ``-dirty`` where files differ; empty outside a checkout."""
    asked = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(
        ["git", "-C", str(settings.PROJECT), *asked], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def log_night(client: MlflowClient, night: NightRun) -> str:
    """Write the night's run with a child for each candidate, in place of half-written ones.

    Half-written runs come from a killed night, or from a request that MLflow's client repeated
    because the response was lost. A run with a registered version is complete and holds that
    version's judged twin: it is never removed, and it is the night's run where the verdict is the
    same and the version was not retired.

    Returns:
        Id of the parent run.
    """
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource  # noqa: F401

    with one_session_of_runs(client):
        experiment = _experiment(client, fleet_of(night.model))
        wanted = f"tags.`nightly.night` = '{night.night}'"
        found = list(client.search_runs([experiment], wanted))
        made_before = versions_of_night(client, night.model, night.night) if found else []
        registered = {version.run_id for version in made_before}
        usable = {version.run_id for version in made_before if RETIRED not in version.tags}
        for run in found:
            same = run.data.tags.get("judged") == night.tags["judged"]
            if same and run.info.run_id in usable:
                if night.parent:
                    client.set_tag(run.info.run_id, "mlflow.parentRunId", night.parent)
                return str(run.info.run_id)
        tags = {**night.tags, "nightly.night": night.night, "as_of": night.as_of.isoformat()}
        if night.parent:
            tags["mlflow.parentRunId"] = night.parent
        else:
            _end_killed(client, experiment, night.night)
        name = f"{night.model} {night.as_of}"
        parent: str = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        _log(client, parent, night.params, night.metrics)
        if night.days:
            _log_dataset(client, parent, night)
        made = {parent}
        for child in night.children:
            fitted = client.create_run(
                experiment,
                run_name=child.candidate,
                tags={
                    "mlflow.parentRunId": parent,
                    "nightly.night": night.night,
                    "as_of": tags["as_of"],
                },
            ).info.run_id
            _log(client, fitted, child.params, child.metrics)
            client.set_terminated(fitted)
            made.add(fitted)
    if repeats_requests(client):
        found = list(client.search_runs([experiment], wanted))
    for run in found:
        whole = {run.data.tags.get("mlflow.parentRunId"), run.info.run_id} & registered
        if not whole and run.info.run_id not in made:
            _delete_run(client, run)
    return parent


def _end_killed(client: MlflowClient, experiment: str, night: str) -> None:
    """End the runs of other nights that still run: only one night of a model is alive at a time."""
    wanted = f"attributes.status = 'RUNNING' AND tags.`nightly.night` != '{night}'"
    for run in client.search_runs([experiment], wanted):
        client.set_terminated(run.info.run_id, "KILLED")


def _delete_run(client: MlflowClient, run: Run) -> None:
    """Remove a half-written run with its files and its package; MLflow's own call keeps both."""
    from mlflow.exceptions import MlflowException

    try:
        delete_packages(client, run.info.experiment_id, run.info.run_id)
        delete_artifacts(run.info.artifact_uri)
    except (MlflowException, OSError) as error:
        place = hide(run.info.artifact_uri)
        log.warning("MLflow    files of a half-written run stay at %s: %s", place, error)
    client.delete_run(run.info.run_id)


def close_run(client: MlflowClient, run_id: str, folder: Path, night: str, verdict: str) -> None:
    """Attach a folder (report, plots) to the night's run, add the verdict to its name and end it.

    Args:
        client: The registry's client.
        run_id: The run.
        folder: What is attached.
        night: Model and as-of date.
        verdict: How the night ended.
    """
    client.update_run(run_id, name=f"{night} {verdict}")
    client.set_tag(run_id, "verdict", verdict)
    client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id)


def describe_nights(client: MlflowClient, run_id: str, text: str, metric: str) -> None:
    """Set the description of the experiment a run is in, and the columns of its list of nights.

    Args:
        client: The registry's client.
        run_id: The run.
        text: Markdown, of which 5,000 characters are kept.
        metric: The primary metric, which is a column with its interval.
    """
    experiment = client.get_run(run_id).info.experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", text[:5000])
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{NIGHTS}", _columns(metric))


def _columns(metric: str) -> str:
    """The list of nights with date, verdict, and the metric with its interval.

    MLflow's pages read it in place of a reader's own view, so all that such a view has is here
    (``ExperimentPageUIState`` in MLflow's source).
    """
    view = {
        "selectedColumns": [f"metrics.`{metric}`", *(f"tags.`{name}`" for name in COLUMNS)],
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "autoRefreshEnabled": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
    return json.dumps(view)


def run_pages(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """The page of a run, and the list of all nights, below the address of MLflow's pages."""
    runs = f"#/experiments/{client.get_run(run_id).info.experiment_id}/runs"
    every = f"{runs}?{TRAINING_PAGES}&viewStateShareKey={NIGHTS}"
    return f"{runs}/{run_id}?{TRAINING_PAGES}", every


def _experiment(client: MlflowClient, model: str) -> str:
    found = client.get_experiment_by_name(model)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
            log.warning(
                "MLflow    the experiment %s was deleted there; it is restored, because the "
                "model's nights belong in it",
                model,
            )
        return str(found.experiment_id)
    return str(client.create_experiment(model, artifact_location=_place(model), tags=AS_TRAINING))


def _place(model: str) -> str | None:
    """Where a model's artifacts lie; None where MLflow's server says it."""
    tracking, shared = settings.tracking_uri(), settings.store_url()
    if shared and not tracking.startswith("http"):
        return f"{shared.rstrip('/')}/artifacts/{model}"
    local = tracking.startswith("sqlite:")
    return (settings.artifact_root() / model).as_uri() if local else None


def _log(
    client: MlflowClient, run: str, params: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    from mlflow.entities import Metric, Param

    client.log_batch(
        run,
        metrics=[Metric(name, float(value), 0, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)[:500]) for name, value in params.items()],
    )


def _log_dataset(client: MlflowClient, run: str, night: NightRun) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=night.days["name"],
        digest=night.days["fingerprint"][:36],
        source_type="local",
        source=night.days["source"],
        profile=night.days["profile"],
    )
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
