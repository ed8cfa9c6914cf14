"""The steps of a wait and of a person's decision, on a registry and without a Prefect server."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mlflow import MlflowClient

from tasks.monitoring.live_days import Live
from tasks.promotion.checks import Check, Status, Verdict
from tasks.registry import aliases, versions, waiting
from tasks.registry.client import open_registry
from tasks.reporting import archive, render
from tasks.reporting.history_page import to_html
from tasks.reporting.night_report import build_report
from tasks.reporting.report_schema import Report
from tasks.steps import approve
from tasks.steps.config import ApproveConfig
from tasks.steps.shadow import follow_shadow
from tasks.steps.state import Cleaned, Incumbent, Judged, Night
from tasks.steps.waiting import close_waiting, wait_for_person
from tests.registry.test_versions import TAGS, bare_version
from tests.reporting.test_night_report import FIGURES, JUDGED, PROMOTED

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),  # MLflow with pandas 3.1
    pytest.mark.filterwarnings("ignore:.*Any type hint"),  # MLflow's own types
]
DAYS = [date(2026, 2, day) for day in range(9, 16)]
ODD = Check("no surprise", False, "30% better overnight.", for_person=True)


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is announced; what needs a Prefect server is left out."""
    events: dict[str, str] = {}
    started = SimpleNamespace(start_time=datetime(2026, 2, 20, 6, tzinfo=UTC))
    monkeypatch.setattr(approve, "announce", lambda *told: events.update(told[2]))
    monkeypatch.setattr(approve, "show_page", lambda *_: None)
    monkeypatch.setattr(approve, "FlowRunContext", SimpleNamespace(get=lambda: started))
    return events


def champion_made(client: MlflowClient, number: int = 1) -> str:
    """A version that a night promoted."""
    version = bare_version(client, **TAGS | {"night": f"night-{number}", "twin_sha256": "t"})
    aliases.promote(client, "toy", version)
    return version


def judged_to_wait(client: MlflowClient) -> Judged:
    verdict = Verdict(Status.WAITING, ("30% better overnight.", "More."), (ODD,))
    incumbent = Incumbent(versions.read_champion(client, "toy"))
    return Judged(verdict, "logistic", {}, incumbent, None, {}, {}, 0.0)


def night_that_waits(client: MlflowClient, as_of: date) -> tuple[str, Verdict]:
    """A night whose challenger waits, with its report; as the flow does it."""
    tags = {"night": f"night-{as_of}", "as_of": str(as_of), "twin_sha256": "t"}
    version = bare_version(client, **TAGS | tags | {"shipped_key": f"key-{as_of}"})
    night = Night("toy", "toy", as_of, {}, f"night-{as_of}")
    judged = wait_for_person.fn(night, judged_to_wait(client), version)
    facts = replace(
        PROMOTED,
        as_of=as_of,
        verdict=judged.verdict,
        judged=replace(JUDGED, version=version, figures=FIGURES | {"differences": {}}),
        champion=judged.incumbent.champion,
    )
    folder = archive.report_folder("toy", as_of)
    render.write_report(folder, build_report(facts), {"Score by day": b"png"})
    return version, judged.verdict


def report(as_of: date) -> Report:
    (found,) = archive.past_reports("toy", as_of, 1)
    return found


def asked(**changes: Any) -> ApproveConfig:
    return ApproveConfig(**{"model": "toy", "by": "Ada", "why": "the gain is real."} | changes)


def test_a_night_says_who_waits_and_how_to_answer(client: MlflowClient) -> None:
    champion = champion_made(client)
    version, verdict = night_that_waits(client, DAYS[0])
    assert verdict.reasons == (
        f"Version {version} waits for a person. 30% better overnight.",
        "To promote it: python flows/approve.py --model toy --by NAME --why REASON; to withdraw "
        "it, the same with --refuse.",
        "More.",
    )
    (one,) = waiting.read_waiting(client, "toy")
    assert (one.version, one.against, one.model) == (version, champion, "toy")
    assert one.why == "30% better overnight."
    told = report(DAYS[0])
    assert told["waiting"] == {"version": version, "against": champion, "decision": None}
    assert told["champion"]["version"] == champion
    assert "a version waits for a person, the champion stays" in render.to_terminal(told)


def test_approved_is_in_registry_report_page_and_event(
    client: MlflowClient, heard: dict[str, str]
) -> None:
    before = champion_made(client)
    version, _ = night_that_waits(client, DAYS[0])
    assert approve.choose_waiting.fn(asked()) == version
    found = approve.approve_version.fn(asked(), version)
    told = "approved by Ada on 2026-02-20: the gain is real"
    assert found["outcome"] == "APPROVED"
    assert found["text"].startswith(f"Version {version} of toy is the champion: {told}.")
    assert heard == {"nightly.version.approved": found["text"]}
    assert versions.read_alias(client, "toy", "champion") == version
    assert versions.read_alias(client, "toy", "previous") == before
    assert waiting.read_decisions(client, "toy")[version].told() == told
    decision = {"outcome": "APPROVED", "by": "Ada", "why": "the gain is real", "on": "2026-02-20"}
    assert cast(Any, report(DAYS[0])["waiting"])["decision"] == decision
    text = (archive.report_folder("toy", DAYS[0]) / "report.md").read_text()
    assert f"**Version {version} was {told}.**" in text
    assert "![Score by day](score_by_day.png)" in text
    assert f"version {version} was {told}" in archive.history_page("toy").read_text()
    assert approve.choose_waiting.fn(asked()) == version, "typed again, it ends what was cut off"
    assert approve.approve_version.fn(asked(by="Bob"), version)["text"] == found["text"]
    with pytest.raises(approve.ApprovalError, match=r"No version of toy waits.*approved by Ada"):
        approve.choose_waiting.fn(asked(refuse=True))


def test_refused_is_held_and_the_champion_stays(
    client: MlflowClient, heard: dict[str, str]
) -> None:
    champion = champion_made(client)
    version, _ = night_that_waits(client, DAYS[0])
    config = asked(refuse=True, why="a leak")
    assert approve.choose_waiting.fn(config) == version
    found = approve.refuse_version.fn(config, version, DAYS[-1])
    assert found["text"] == (
        f"Version {version} of toy was refused by Ada on 2026-02-20: a leak. The champion stays. "
        f"Its recipe (logistic) and code are held through {DAYS[-1]}; to release them: "
        "python flows/rollback.py --model toy --release."
    )
    assert list(heard) == ["nightly.version.refused"]
    assert versions.read_alias(client, "toy", "champion") == champion
    assert cast(Any, report(DAYS[0])["waiting"])["decision"]["outcome"] == "REFUSED"
    assert f"Version {version} was refused by Ada" in archive.history_page("toy").read_text()
    assert approve.choose_waiting.fn(config) == version
    with pytest.raises(approve.ApprovalError, match=r"No version of toy waits.*refused by Ada"):
        approve.choose_waiting.fn(asked())


def test_where_there_is_no_champion_none_is_said_to_stay(
    client: MlflowClient, heard: dict[str, str]
) -> None:
    version, _ = night_that_waits(client, DAYS[0])
    found = approve.refuse_version.fn(asked(refuse=True, why="a leak"), version, None)
    assert found["text"].startswith(f"Version {version} of toy was refused by Ada")
    assert "a leak. There is still no champion." in found["text"]
    assert list(heard) == ["nightly.version.refused"]


def test_a_newer_version_and_a_promotion_close_what_waits(
    client: MlflowClient, heard: dict[str, str]
) -> None:
    with pytest.raises(approve.ApprovalError, match="No version of toy waits for a person"):
        approve.choose_waiting.fn(asked())
    champion_made(client)
    old, _ = night_that_waits(client, DAYS[0])
    new, _ = night_that_waits(client, DAYS[1])
    decision = cast(Any, report(DAYS[0])["waiting"])["decision"]
    assert (decision["outcome"], decision["by"]) == ("SUPERSEDED", f"version {new}")
    with pytest.raises(approve.ApprovalError, match=f"Version {old} of toy does not wait: ver"):
        approve.choose_waiting.fn(asked(version=int(old)))
    champion = champion_made(client, 9)
    with pytest.raises(approve.ApprovalError, match=f"but version {champion} is the champion now"):
        approve.choose_waiting.fn(asked())
    close_waiting(client, "toy", champion, "became the champion", "2026-02-11")
    assert waiting.read_waiting(client, "toy") == []
    with pytest.raises(approve.ApprovalError, match=r"No version of toy waits.*superseded by ver"):
        approve.choose_waiting.fn(asked(refuse=True))
    assert heard == {}


def test_a_decision_cut_off_before_its_report_is_in_it_after_a_night_of_any_later_date(
    client: MlflowClient,
) -> None:
    champion_made(client)
    version, _ = night_that_waits(client, DAYS[0])
    decision = waiting.Decision(waiting.APPROVED, "its shadow nights", "Better.", str(DAYS[1]))
    aliases.promote(client, "toy", version, decision=decision)
    assert cast(Any, report(DAYS[0])["waiting"])["decision"] is None
    later, judged = Night("toy", "toy", DAYS[3], {}, "later"), judged_to_wait(client)
    nothing = Cleaned({}, (), {}, {}, 0.0)
    found = follow_shadow.fn(later, nothing, Live(), judged)
    assert found == (judged, None)
    assert cast(Any, report(DAYS[0])["waiting"])["decision"] == asdict(decision)


def test_a_night_that_runs_again_after_the_decision_finds_it(client: MlflowClient) -> None:
    champion_made(client)
    version, _ = night_that_waits(client, DAYS[0])
    yes = waiting.Decision("APPROVED", "Ada", "fine", "2026-02-20")
    aliases.promote(client, "toy", version, decision=yes)
    night = Night("toy", "toy", DAYS[0], {}, "key")
    again = wait_for_person.fn(night, judged_to_wait(client), version).verdict
    assert again.status is Status.PROMOTED
    assert again.reasons[0] == f"Version {version} was approved by Ada on 2026-02-20: fine."
    assert waiting.read_waiting(client, "toy") == []


def test_on_the_page_an_approved_version_was_promoted_and_did_not_go_back(
    client: MlflowClient, heard: dict[str, str]
) -> None:
    champion_made(client)
    version, _ = night_that_waits(client, DAYS[0])
    approve.approve_version.fn(asked(), version)
    waited = report(DAYS[0])
    kept: Any = {**waited, "as_of": str(DAYS[1]), "verdict": "KEPT", "waiting": None}
    kept |= {"champion": {"version": version, "candidate": "logistic", "since": str(DAYS[0])}}
    html = to_html([waited, kept], [])
    assert f"{DAYS[1]}: version {version} promoted" in html
    assert "WAITING <b>1</b>" in html
