"""When a model is retrained, from prefect.yaml."""

from __future__ import annotations

from tasks.settings import PROJECT

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
