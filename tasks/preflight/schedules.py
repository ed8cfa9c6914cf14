"""When a model is retrained, from prefect.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.preflight.result import Part
from tasks.settings import PROJECT

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


FILE = PROJECT / "prefect.yaml"


def schedules_of(text: str, model: str) -> list[str]:
    """When prefect.yaml retrains a model: name, cron and time zone of each schedule.

    Raises:
        ValueError: Where the text is not a valid prefect.yaml.
    """
    import yaml

    try:
        deployments = yaml.safe_load(text)["deployments"]
        return [
            f"{entry['name']}: {schedule['cron']} {schedule.get('timezone', 'UTC')}"
            for entry in deployments
            if str(entry.get("entrypoint", "")).endswith(":retrain")
            and (config := (entry.get("parameters") or {}).get("config", {})).get("model") == model
            and not config.get("look")
            for schedule in entry.get("schedules") or []
            if "cron" in schedule
        ]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def look_at_schedule(spec: ModelSpec) -> Part:

    try:
        crons = schedules_of(FILE.read_text(encoding="utf-8"), spec.name)
    except (OSError, ValueError) as error:
        return Part("Schedule", notes=(f"{FILE.name} cannot be read: {error}",))
    if not crons:
        return Part("Schedule", ("none in prefect.yaml: nights only run when started by hand",))
    return Part("Schedule", tuple(crons), notes=schedule_notes(spec, crons))


def schedule_notes(spec: ModelSpec, crons: Sequence[str]) -> tuple[str, ...]:
    """That a schedule starts nights at another time of day than the spec says.

    Args:
        spec: The model.
        crons: From ``schedules_of``.
    """
    clock, zone = spec.night_start, f" {spec.timezone}"
    return tuple(
        f"night_start: found {clock!r}, but {cron}: expected the same, so that training has what "
        "the night will have."
        for cron in crons
        if clock
        and cron.endswith(zone)
        and not re.search(rf": 0?{int(clock[3:])} 0?{int(clock[:2])} ", cron)
    )
