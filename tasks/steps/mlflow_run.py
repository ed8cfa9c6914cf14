"""What a night leaves behind for others to read: its MLflow run and the links to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime

from tasks import settings
from tasks.registry.runs import ChildRun, NightRun
from tasks.settings import PROJECT
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.spec.tuned import PLAIN
from tasks.steps.decisions import fingerprint
from tasks.training import fit as fitting
from tasks.training import tuning

if TYPE_CHECKING:
    from tasks.steps.state import Cleaned, Examples, Judged, Night


def night_run(night: Night, clean: Cleaned, examples: Examples, judged: Judged) -> NightRun:
    """What MLflow keeps of a night: parameters, figures with intervals, candidates, data."""
    spec, split = load_spec(night.model), examples.split
    measured = judged.figures["metrics"] if judged.figures else {}
    roles = {"": judged.challenger, "champion_": "champion", "baseline_": "baseline"}
    metrics = {
        f"{prefix}{metric}{end}": estimate[part]
        for prefix, name in roles.items()
        for metric, estimate in measured.get(name, {}).items()
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    taught = examples.of(split.train)
    found = {name: tuning.settle(spec, name, night.as_of, taught) for name in judged.fits}
    children = [
        ChildRun(
            candidate=name,
            params=_params(fitting.estimator_of(spec, name), found[name]) | {"rows": f"{fit.rows}"},
            metrics={m: e["value"] for m, e in measured.get(name, {}).items()}
            | {"fit_seconds": fit.seconds, "fit_cpu_seconds": fit.cpu_seconds},
        )
        for name, fit in judged.fits.items()
    ]
    newest = max(night.days)
    return NightRun(
        model=spec.name,
        as_of=night.as_of,
        night=night.key,
        tags={
            "judged": judged.verdict.status,
            "verdict": judged.verdict.status,
            "challenger": judged.challenger,
            "spec_digest": digest(spec),
            "prefect.flow_run_id": str(runtime.flow_run.id),
            "prefect.flow_run_url": runtime.flow_run.ui_url or "",
            "git_commit": git_commit(),
            "mlflow.source.name": "flows/retrain.py",
            "mlflow.source.type": "JOB",
            "mlflow.note.content": _note(judged.verdict.reasons),
        },
        params={
            "question": spec.question,
            "window_days": str(spec.window.days),
            "lookback_days": str(spec.lookback.days),
            "train": f"{split.train[0]} to {split.train[-1]}",
            "holdout": f"{split.holdout[0]} to {split.holdout[-1]}",
        },
        metrics=metrics | {f"rows_{name}": float(n) for name, n in clean.rows.items()},
        children=children,
        days={
            "name": f"{spec.name} {min(night.days)} to {newest}",
            "fingerprint": fingerprint(night.days),
            "source": json.dumps({"source": repr(spec.source)}),
            "profile": json.dumps({"days": len(night.days), **clean.rows}),
        },
    )


def _note(reasons: Sequence[str]) -> str:
    """The description of the run: the reasons, and the way to its run in Prefect."""
    page = runtime.flow_run.ui_url if runtime.deployment.id else None
    return " ".join(reasons) + (f"\n\n[Log and report in Prefect]({page})" if page else "")


def _params(estimator: Any, found: tuning.Settled) -> dict[str, str]:
    """Plain parameters as fitted, and when they were searched."""
    values = estimator.get_params() | found.parameters
    told = {name: str(value) for name, value in values.items() if isinstance(value, PLAIN)}
    return told | ({"searched": f"{found.searched}"} if found.searched else {})


def git_commit() -> str:
    """Commit of the project, with ``-dirty`` where files differ; empty outside a checkout."""
    found = subprocess.run(
        [
            "git",
            "-C",
            str(PROJECT),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()


def links(folder: Path, run: str | None, run_page: str | None) -> dict[str, str]:
    """Where to look further: the report's file, the runs in Prefect and MLflow.

    Args:
        folder: Where the report lives.
        run: The MLflow run, if any.
        run_page: Its page, below the address of MLflow's pages.
    """
    found = {
        "report": str(folder / "report.md"),
        "history": str(folder.parent / "history.html"),
    }
    flow_run = runtime.flow_run.ui_url
    if flow_run and runtime.deployment.id:
        found["prefect"] = flow_run
    if run:
        uri, pages = settings.tracking_uri(), settings.mlflow_pages()
        found["mlflow_run"] = run
        found["mlflow_ui"] = (
            f"{pages}/{run_page}" if pages else f"mlflow ui --backend-store-uri {uri}"
        )
    return found
