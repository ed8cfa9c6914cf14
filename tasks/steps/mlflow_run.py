"""A night's MLflow run, and the links to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime

from tasks import settings
from tasks.registry import runs
from tasks.reporting.decisions import fingerprint
from tasks.shown import as_markdown, hide, shown
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.spec.tuned import PLAIN
from tasks.steps.ending import is_deployed
from tasks.steps.train import settled
from tasks.training.fit import estimator_of

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Cleaned, Examples, Judged, Night
    from tasks.training import tuning


def night_run(night: Night, clean: Cleaned, examples: Examples, judged: Judged) -> runs.NightRun:
    """The MLflow run of a night: parameters, metrics with intervals, candidates, data."""
    spec, split = load_spec(night.model), examples.split
    measured = judged.figures["metrics"] if judged.figures else {}
    metrics = runs.role_metrics(measured, judged.challenger)
    return runs.NightRun(
        model=spec.name,
        as_of=night.as_of,
        night=night.key,
        tags=_tags(spec, judged),
        params={
            "question": spec.question,
            "window_days": str(spec.window.days),
            "lookback_days": str(spec.lookback.days),
            "train": f"{split.train[0]} to {split.train[-1]}",
            "holdout": f"{split.holdout[0]} to {split.holdout[-1]}",
        },
        metrics=metrics | {f"rows_{name}": float(n) for name, n in clean.rows.items()},
        children=_children(spec, judged, measured, settled(night, examples, list(judged.fits))),
        days={
            "name": f"{spec.name} {min(night.days)} to {max(night.days)}",
            "fingerprint": fingerprint(night.days),
            "source": json.dumps({"source": shown(repr(spec.source))}),
            "profile": json.dumps({"days": len(night.days), **clean.rows}),
        },
    )


def partition_run(night: Night, judged: Judged, parent: str) -> runs.NightRun:
    """The run of one partition, below that of its fleet's night, which has what all share."""
    measured = judged.figures["metrics"] if judged.figures else {}
    said = as_markdown(shown(" ".join(judged.verdict.reasons)))
    return runs.NightRun(
        model=night.name,
        as_of=night.as_of,
        night=night.key,
        tags=_verdict_tags(load_spec(night.model), judged) | {"mlflow.note.content": said},
        params={name: f"{fit.rows} rows" for name, fit in judged.fits.items()},
        metrics=runs.role_metrics(measured, judged.challenger),
        children=(),
        days={},
        parent=parent,
    )


def _tags(spec: ModelSpec, judged: Judged) -> dict[str, str]:
    return _verdict_tags(spec, judged) | {
        "prefect.flow_run_id": str(runtime.flow_run.id),
        "prefect.flow_run_url": runtime.flow_run.ui_url or "",
        "git_commit": runs.git_commit(),
        "mlflow.source.name": "flows/retrain.py",
        "mlflow.source.type": "JOB",
        "mlflow.note.content": _note(judged.verdict.reasons),
    }


def _verdict_tags(spec: ModelSpec, judged: Judged) -> dict[str, str]:
    measured = judged.figures["metrics"] if judged.figures else {}
    own = measured.get(judged.challenger, {}).get(spec.problem.primary)
    return {
        **({"interval": f"{own['low']:.3f} to {own['high']:.3f}"} if own else {}),
        "judged": judged.verdict.status,
        "verdict": judged.verdict.status,
        "challenger": judged.challenger,
        "spec_digest": digest(spec),
        **({"left_out": ", ".join(judged.left_out)} if judged.left_out else {}),
    }


def _children(
    spec: ModelSpec,
    judged: Judged,
    measured: Mapping[str, Any],
    found: Mapping[str, tuning.Settled],
) -> list[runs.ChildRun]:
    return [
        runs.ChildRun(
            candidate=name,
            params=_params(estimator_of(spec, name), found[name]) | {"rows": f"{fit.rows}"},
            metrics={m: e["value"] for m, e in measured.get(name, {}).items()}
            | {"fit_seconds": fit.seconds, "fit_cpu_seconds": fit.cpu_seconds},
        )
        for name, fit in judged.fits.items()
    ]


def _note(reasons: Sequence[str]) -> str:
    """The description of the run: the reasons, and the link to its run in Prefect."""
    page = runtime.flow_run.ui_url if is_deployed() else None
    told = as_markdown(shown(" ".join(reasons)))
    return told + (f"\n\n[Log and report in Prefect]({page})" if page else "")


def _params(estimator: Any, found: tuning.Settled) -> dict[str, str]:
    """Plain parameters as fitted, and when they were searched."""
    values = estimator.get_params() | found.parameters
    told = {name: str(value) for name, value in values.items() if isinstance(value, PLAIN)}
    return told | ({"searched": f"{found.searched}"} if found.searched else {})


def links(
    folder: Path, history: Path, run: str | None, run_pages: tuple[str, str] | None
) -> dict[str, str]:
    """Links to the report's file and to the runs in Prefect and MLflow.

    Args:
        folder: Folder of the report.
        history: The page of all nights.
        run: The MLflow run, if any.
        run_pages: Its page and the list of all nights, below the address of MLflow's pages.
    """
    found = {
        "report": str(folder / "report.md"),
        "history": str(history),
    }
    flow_run = runtime.flow_run.ui_url
    if flow_run and is_deployed():
        found["prefect"] = flow_run
    if run and run_pages:
        pages = settings.mlflow_pages()
        found["mlflow_run"] = run
        if pages:
            found["mlflow_ui"], found["mlflow_nights"] = (f"{pages}/{page}" for page in run_pages)
        else:
            uri = hide(settings.tracking_uri())
            found["mlflow_ui"] = f"mlflow ui --backend-store-uri {uri}"
    return found
