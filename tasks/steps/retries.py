"""Retries of steps that use the source or the registry."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from tasks.errors import NightlyError


def may_pass(_task: object, _run: object, state: State) -> bool:
    """Whether to retry a failed step: not where a person must act."""

    failed = state.result(raise_on_failure=False)
    return not isinstance(failed, NightlyError) or failed.may_pass


OUTSIDE: dict[str, Any] = {
    "retries": 3,
    "retry_condition_fn": may_pass,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "cache_policy": NO_CACHE,
}
"""For steps that use the source or the registry: wait 2, 4, 8 s, each with jitter."""
