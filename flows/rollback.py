"""The way back: an earlier version is proven to work and is the champion again."""

from __future__ import annotations

from tasks import command

if __name__ == "__main__":
    command.set_defaults()

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import restore
from tasks.restore import RollbackConfig


@flow
def rollback(config: RollbackConfig) -> State:
    """Put an earlier champion back; the version it takes over from is never promoted again."""
    with restore.only_change(config.model):
        target = restore.choose_version(config)
        restore.prove_version(config, target)
        return restore.end_rollback(restore.restore_champion(config, target))


if __name__ == "__main__":
    command.run_rollback(rollback)
