"""Approval: a person promotes the version that waits, or refuses it."""

from __future__ import annotations

from tasks.cli.commands import begin, run_approve
from tasks.cli.parsers import approve_parser

if __name__ == "__main__":
    begin(approve_parser(), loads=True)

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.steps.approve import (
    approve_version,
    choose_waiting,
    end_decision,
    publish_after_approval,
    refuse_version,
)
from tasks.steps.config import ApproveConfig
from tasks.steps.opening import only_change
from tasks.steps.rollback import held_through, prove_version


@flow
def approve(config: ApproveConfig) -> State:
    """Promote the version that waits for a person, or withdraw it and hold its recipe and code."""
    with only_change(config.model):
        version = choose_waiting(config)
        if config.refuse:
            held_until = held_through(config.model, version)
            return end_decision(refuse_version(config, version, held_until))
        prove_version(config, version)
        approved = approve_version(config, version)
        return end_decision(approved, publish_after_approval(config.model, version))


if __name__ == "__main__":
    run_approve(approve)
