"""Rollback: an earlier version is checked and becomes champion again."""

from __future__ import annotations

from tasks.cli.commands import begin, run_rollback
from tasks.cli.parsers import rollback_parser

if __name__ == "__main__":
    begin(rollback_parser(), loads=True)

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.config import RollbackConfig
from tasks.steps.opening import only_change
from tasks.steps.predict import publish_after_rollback
from tasks.steps.rollback import (
    choose_version,
    close_rollback,
    end_release,
    end_retire,
    end_rollback,
    held_through,
    prove_version,
    release_recipes,
    restore_champion,
    retire_champion,
)


@flow(on_completion=[close_rollback])
def rollback(config: RollbackConfig) -> State:
    """Put an earlier champion back, release what earlier rollbacks hold, or retire the champion.

    The version it takes over from is never promoted again, and its recipe and code are held.
    """
    with only_change(config.model):
        if config.release:
            return end_release(release_recipes(config))
        if config.retire:
            return end_retire(retire_champion(config, held_through(config.model)))
        target = choose_version(config)
        prove_version(config, target)
        restored = restore_champion(config, target, held_through(config.model))
        return end_rollback(restored, publish_after_rollback(config.model))


if __name__ == "__main__":
    run_rollback(rollback)
