"""The steps of a rollback as Prefect tasks; they need the registry, but not the model's code.

When a rollback is needed, the model's own file may be the broken part.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from prefect import runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType

from tasks.clean_process.package_check import check_package
from tasks.errors import WrongInputError
from tasks.registry import aliases, packages, versions
from tasks.registry.client import RegistryError, open_registry
from tasks.reporting.decisions import forget
from tasks.spec.gate import Gate
from tasks.steps.events import announce
from tasks.store import locks

if TYPE_CHECKING:
    from tasks.steps.config import RollbackConfig


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)
ROLLED_BACK = "ROLLED BACK"


class RollbackError(WrongInputError, ValueError):
    """There is no suitable version to go back to; nothing was changed."""


def only_change(model: str) -> AbstractContextManager[None]:
    """Hold the model's lock; wait for a running night."""
    return locks.lock(f"night-{model}", wait=6 * 3600)


@task(task_run_name="choose the version", cache_policy=NO_CACHE)
def choose_version(config: RollbackConfig) -> str:
    """The requested version, else the previous champion, or the target of an interrupted rollback.

    Raises:
        RollbackError: Where there is none, or it is the champion already, or was rolled back.
    """
    from prefect.client.orchestration import get_client

    client = open_registry()
    begun = aliases.unfinished_rollback(client, config.model)
    if begun and config.to in (None, int(begun)):
        return begun
    if ended := aliases.finish_change(client, config.model):
        log.warning("restore   %s", ended.told)
    champion = versions.read_alias(client, config.model, versions.CHAMPION)
    if champion is None:
        raise RollbackError(f"{config.model} has no champion to roll back.")
    previous = versions.read_alias(client, config.model, versions.PREVIOUS)
    target = str(config.to) if config.to else previous
    if target is None:
        raise RollbackError(
            f"{config.model}: version {champion} has no predecessor. Choose a version with "
            "--to VERSION."
        )
    if target == champion:
        raise RollbackError(f"{config.model}: version {target} is already the champion.")
    with get_client(sync_client=True) as server:
        name = f"{config.model} · back to version {target}"
        server.update_flow_run(runtime.flow_run.id, name=name)
    return target


@task(task_run_name="prove version {version}", cache_policy=NO_CACHE)
def prove_version(config: RollbackConfig, version: str) -> None:
    """Download the version and compare it with the record of its checks.

    Raises:
        RollbackError: With the first check that fails.
    """

    client = open_registry()
    try:
        seal = packages.read_seal(client, config.model, version)
        with packages.downloaded(client, config.model, version) as place:
            checks = check_package(
                place,
                seal.probe,
                seal.predictions,
                trusted=seal.trusted,
                gate=Gate(latency_ms=3_600_000, size_mb=100_000),
                sha256=seal.sha256,
            )
    except RegistryError as error:
        raise RollbackError(str(error)) from error
    for check in checks:
        log.info("prove     %s: %s", check.name, check.detail)
        if not check.passed:
            raise RollbackError(
                f"Version {version} of {config.model} cannot become champion, because a check "
                f"failed: {check.name}. {check.detail}"
            )


@task(task_run_name="version {version} is champion again", cache_policy=NO_CACHE)
def restore_champion(config: RollbackConfig, version: str) -> dict[str, Any]:
    """Move the alias, mark the version that was champion, and drop the decided nights."""

    client = open_registry()
    rejected = aliases.roll_back(client, config.model, version, config.why)
    forget(config.model)
    found: dict[str, Any] = {
        "model": config.model,
        "champion": version,
        "rolled_back": rejected,
        "why": config.why,
    }
    create_markdown_artifact(
        key=f"rollback-{config.model}".replace("_", "-"),
        markdown=f"# {config.model}\n\n{to_text(found)}\n",
        description=f"{config.model} · version {version} is the champion again",
    )
    champion = versions.read_champion(client, config.model)
    as_of = champion.as_of if champion else None
    announce(config.model, as_of, {"nightly.champion.rolled-back": to_text(found)})
    log.info("restore   %s", to_text(found))
    return found


def end_rollback(found: dict[str, Any]) -> State:
    """The flow's last state holds the result."""
    return State(type=StateType.COMPLETED, name=ROLLED_BACK, message=to_text(found), data=found)


def to_text(found: dict[str, Any]) -> str:
    """The result of a rollback, in two sentences."""
    return (
        f"Version {found['champion']} of {found['model']} is the champion again: its files are "
        "unaltered, and it predicts bit for bit as it did when it was checked. Version "
        f"{found['rolled_back']} will not be promoted again from the same code and data. Why: "
        f"{found['why']}"
    )
