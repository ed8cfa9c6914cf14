"""The way back: an earlier version is proven to work and is the champion again."""

from __future__ import annotations

from tasks.cli.commands import run_rollback
from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.config import RollbackConfig
from tasks.steps.predict import publish_after_rollback
from tasks.steps.rollback import (
    choose_version,
    end_rollback,
    only_change,
    prove_version,
    restore_champion,
)


@flow
def rollback(config: RollbackConfig) -> State:
    """Put an earlier champion back; the version it takes over from is never promoted again."""
    with only_change(config.model):
        target = choose_version(config)
        prove_version(config, target)
        restored = restore_champion(config, target)
        return end_rollback(restored, publish_after_rollback(config.model))


if __name__ == "__main__":
    run_rollback(rollback)
