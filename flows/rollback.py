"""Rollback: an earlier version is checked and becomes champion again."""

from __future__ import annotations

from tasks.cli.commands import run_rollback
from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.config import RollbackConfig
from tasks.steps.rollback import (
    choose_version,
    end_rollback,
    only_change,
    prove_version,
    restore_champion,
)


@flow
def rollback(config: RollbackConfig) -> State:
    """Make an earlier version champion again; the version it replaces is never promoted again."""
    with only_change(config.model):
        target = choose_version(config)
        prove_version(config, target)
        return end_rollback(restore_champion(config, target))


if __name__ == "__main__":
    run_rollback(rollback)
