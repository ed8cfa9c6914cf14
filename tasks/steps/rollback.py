"""The steps of a rollback as Prefect tasks; they need the registry, but not the model's code.

When a rollback is needed, the model's own file may be the broken part.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State

from tasks import settings
from tasks.clean_process.package_check import check_again
from tasks.errors import RegistryError, WrongInputError
from tasks.promotion.holds import length_of_hold, told
from tasks.registry import aliases, anchors, packages, versions
from tasks.registry.client import open_registry
from tasks.registry.holds import read_holds, release_hold
from tasks.reporting.archive import past_reports
from tasks.reporting.decisions import forget
from tasks.spec.fleet import fleet_of
from tasks.spec.gate import Revert
from tasks.steps.config import RollbackConfig
from tasks.steps.ending import end_run, name_run, show_page
from tasks.steps.events import announce
from tasks.steps.history import draw_history
from tasks.steps.spoken import task
from tasks.steps.waiting import close_shadows
from tasks.store import files

if TYPE_CHECKING:
    from tasks.registry.client import Client
    from tasks.steps.config import ApproveConfig


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)
ENDED = ROLLED_BACK, RELEASED, RETIRED = ("ROLLED BACK", "RELEASED", "RETIRED")


class RollbackError(WrongInputError, ValueError):
    """There is no suitable version to go back to; nothing was changed."""


@task(task_run_name="choose the version", cache_policy=NO_CACHE)
def choose_version(config: RollbackConfig) -> str:
    """The requested version, else the previous champion, or the target of an interrupted rollback.

    Also of one that was interrupted after the alias had moved: the same command again ends it, and
    does not go back once more.

    Raises:
        RollbackError: Where there is none, or it is the champion already, or was rolled back.
    """
    client = open_registry()
    begun = aliases.unfinished_rollback(client, config.model)
    if begun and config.to in (None, int(begun)):
        return begun
    if ended := aliases.finish_change(client, config.model):
        log.warning("restore   %s", ended.told)
    champion = versions.read_alias(client, config.model, versions.CHAMPION)
    if champion in _begun(config.model) and config.to in (None, int(champion or 0)):
        return str(champion)
    if champion is None and config.to:  # it was retired
        return str(config.to)
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
    name_run(f"{config.model} · back to version {target}")
    return target


@task(task_run_name="prove version {version}", cache_policy=NO_CACHE)
def prove_version(config: RollbackConfig | ApproveConfig, version: str) -> None:
    """Download the version and compare it with the record of its checks.

    Raises:
        RollbackError: With the first check that fails.
    """

    client = open_registry()
    try:
        seal = packages.read_seal(client, config.model, version)
        with packages.downloaded(client, config.model, version) as place:
            checks = check_again(place, seal)
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
def restore_champion(
    config: RollbackConfig, version: str, held_until: date | None
) -> dict[str, Any]:
    """Move the alias, mark the version that was champion, and drop the decided nights.

    Args:
        config: What is asked.
        version: The version to go back to.
        held_until: Last night that must not promote what is rolled back, refitted; if any.
    """
    client = open_registry()
    begun = _begun(config.model)
    champion = versions.read_alias(client, config.model, versions.CHAMPION)
    if champion == version and version in begun:
        aliases.finish_change(client, config.model)
        rejected = begun[version]
    else:
        files.write_json(_note(config.model), {version: champion})
        rejected = aliases.roll_back(client, config.model, version, config.why, held_until)
    _end_line(client, config.model)
    _end_shadows(client, config)
    forget(config.model)
    holds = {hold.version: hold for hold in read_holds(client, config.model)}
    hold = holds.get(rejected or "")
    found: dict[str, Any] = {
        "model": config.model,
        "champion": version,
        "rolled_back": rejected,
        "why": config.why,
        "held": told(config.model, hold) if hold else "",
    }
    said = f"{config.model} · version {version} is the champion again"
    show_page("rollback", config.model, f"# {config.model}\n\n{to_text(found)}\n", said)
    restored = versions.read_champion(client, config.model)
    as_of = restored.as_of if restored else None
    announce(config.model, as_of, {"nightly.champion.rolled-back": to_text(found)})
    draw_history_anew(config.model)
    log.info("restore   %s", to_text(found))
    return found


def end_rollback(found: dict[str, Any], published: str) -> State:
    """The flow's last state says what happened.

    Args:
        found: From ``restore_champion``.
        published: What the app reads now, in words.
    """
    said = " ".join(filter(None, (to_text(found), published)))
    return end_run(ROLLED_BACK, found["model"], said, found)


def close_rollback(flow: Any, flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Drop the note of the rollback under way, once Prefect has recorded the run's end.

    Killed before that, the same command ends this rollback and does not go back once more.
    """
    config = RollbackConfig.model_validate(flow_run.parameters["config"])
    files.remove(_note(config.model))


def held_through(
    model: str,
    version: str | None = None,
    *,
    since: date | None = None,
    shortest: timedelta | None = None,
) -> date | None:
    """The last night that must not promote a version's recipe and code once it is withdrawn.

    None where it is not held.

    Args:
        model: Name of the model.
        version: The version; None for the champion.
        since: The first such night; None for the newest one.
        shortest: How long at least; None for what the version says.
    """
    client = open_registry()
    found = (
        versions.find_by_number(client, model, version)
        if version
        else versions.version_by_alias(client, model, versions.CHAMPION)
    )
    tags = found.tags if found else {}
    first = str(since or _newest_night(model, tags.get("as_of", "")))
    if shortest is None:
        shortest = timedelta(days=int(tags.get("hold", Revert().hold.days)))
    if not (found and first and shortest):
        return None
    made = str(found.version), tags.get("candidate", ""), tags.get("spec_digest", "")
    return date.fromisoformat(first) + length_of_hold(shortest, read_holds(client, model), *made)


@task(task_run_name="release what is held", cache_policy=NO_CACHE)
def release_recipes(config: RollbackConfig) -> dict[str, Any]:
    """Let nights promote again what rollbacks and reverts hold; what was decided is forgotten.

    Raises:
        RollbackError: Where nothing is held, or a version to go back to is named as well.
    """
    if config.to:
        raise RollbackError("--release rolls nothing back: leave out --to.")
    client = open_registry()
    aliases.finish_change(client, config.model)
    holds = read_holds(client, config.model)
    newest = _newest_night(config.model, "")
    live = [hold for hold in holds if hold.until.isoformat() >= newest]
    if not live:
        raise RollbackError(f"No recipe of {config.model} is held.")
    for hold in live:
        release_hold(client, config.model, hold, config.why)
    forget(config.model)
    draw_history_anew(config.model)
    recipes = ", ".join(sorted({hold.candidate for hold in live}))
    text = (
        f"Released: nights may promote {recipes} of {config.model} again from the same code. "
        f"Why: {config.why}"
    )
    log.info("release   %s", text)
    return {"model": config.model, "released": [hold.version for hold in live], "text": text}


def end_release(found: dict[str, Any]) -> State:
    """The flow's last state says what was released."""
    return end_run(RELEASED, found["model"], found["text"], found)


@task(task_run_name="retire the champion", cache_policy=NO_CACHE)
def retire_champion(config: RollbackConfig, known_until: date | None) -> dict[str, Any]:
    """Give up a champion that can no longer be asked; what was decided is forgotten.

    Args:
        config: What is asked.
        known_until: Last night whose challenger is held to its known figures, if any.

    Raises:
        RollbackError: Where there is no champion, or something else is asked as well.
    """
    if config.to or config.release:
        raise RollbackError("--retire goes back to nothing: leave out --to and --release.")
    client = open_registry()
    try:
        version = aliases.give_up(client, config.model, config.why, known_until)
    except RegistryError as error:
        raise RollbackError(str(error)) from error
    _end_shadows(client, config)
    forget(config.model)
    held = f", and up to {known_until} against its known figures" if known_until else ""
    text = (
        f"Version {version} of {config.model} is retired, and there is no champion. The app keeps "
        f"its predictions until the next night, which is judged against the baseline{held}. To "
        f"put the version back: python flows/rollback.py --model {config.model} --to {version}. "
        f"Why: {config.why}"
    )
    said = f"{config.model} · version {version} is retired"
    show_page("rollback", config.model, f"# {config.model}\n\n{text}\n", said)
    announce(config.model, None, {"nightly.champion.rolled-back": text})
    draw_history_anew(config.model)
    log.info("retire    %s", text)
    return {"model": config.model, "retired": version, "text": text}


def end_retire(found: dict[str, Any]) -> State:
    """The flow's last state says what was retired."""
    return end_run(RETIRED, found["model"], found["text"], found)


def _note(model: str) -> Path:
    """The file that says which rollback is under way."""
    return settings.home() / "rollbacks" / f"{model}.json"


def _begun(model: str) -> dict[str, str | None]:
    """The version that a rollback under way goes back to, with the one that was champion."""
    with suppress(OSError, ValueError):
        return dict(files.read_json(_note(model)))
    return {}


def _newest_night(model: str, made: str) -> str:
    """As-of date of the newest report, or of a version where that is newer.

    Of a partition's model that of its fleet: a night without its rows writes it no report.
    """
    newest = past_reports(fleet_of(model), date.max, 1)
    return max([made, *(report["as_of"] for report in newest)])


def _end_line(client: Client, model: str) -> None:
    """The graded days of what was taken back count no more in the comparison with the anchor."""
    anchor, newest = anchors.read_anchor(client, model), _newest_night(model, "")
    if anchor and newest:
        since = max(anchor.since, date.fromisoformat(newest) + timedelta(days=1))
        anchors.write_anchor(client, model, replace(anchor, since=since))


def _end_shadows(client: Client, config: RollbackConfig) -> None:
    """A version in the shadow was judged against the champion that has just been replaced."""
    why = f"the champion beside it was withdrawn: {config.why.removesuffix('.')}"
    close_shadows(client, config.model, "a rollback", why, _newest_night(config.model, ""))


def draw_history_anew(model: str) -> None:
    """Draw the page of nights; a failure here undoes nothing."""
    try:
        draw_history(model)
    except Exception:
        log.exception("restore   the page of nights could not be drawn anew")


def to_text(found: dict[str, Any]) -> str:
    """What a rollback did, in a few sentences."""
    held = f"{found['held']} " if found["held"] else ""
    again = (
        f"Version {found['rolled_back']} will not be promoted again from the same code and data. "
    )
    return (
        f"Version {found['champion']} of {found['model']} is the champion again: its files are "
        "unaltered, and it predicts as it did when it was checked. "
        f"{again if found['rolled_back'] else ''}{held}Why: {found['why']}"
    )
