"""Random sequences of a fleet: what happens to its partitions, one by one and together.

The common model and each partition are held to what ``tests/sequences.py`` asks of one model;
beside that, what happens to one partition changes nothing of another.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from tasks import settings
from tasks.predictions import publish
from tasks.promotion.checks import Status
from tasks.reporting.archive import past_reports, report_folder
from tasks.spec.fleet import fleet_of, model_name, value_of
from tasks.steps.ending import outcome_of
from tests.fleets import write_fleet
from tests.nights import copy_home, versions_of
from tests.sequences import (
    RECIPES,
    Killed,
    Nights,
    forget_models,
    is_held,
    killed_at,
    previous_of,
    waiting_now,
)

FLEET = "shops"
USUAL, THIN, HOLDOUT = 30, 2, 7
"""Rows a day of a partition, and of one that is too thin; days of the holdout."""
BEGIN = {"north": USUAL, "south": USUAL, "New York": USUAL, "thin": THIN}
NEW = "west"
EVERY = (*BEGIN, NEW, "nowhere")
"""All that the app asks for: one of them never has a row."""
ASKED_EACH = 4
"""Requests of each partition."""
KINDS = ("broken rows", "no rows", "one label")
"""How one partition's newest day may be bad."""
PATIENT, EDITS = ("good", "asking"), ("good", "as good", "spoilt", "asking")
"""Recipes that a sequence may begin with, and those of its edits: a fleet has no shadow nights."""
CHANGES = (
    ('"constant": DummyClassifier(), ', ""),
    (
        "import LogisticRegression\n",
        "import LogisticRegression\nfrom sklearn.tree import DecisionTreeClassifier\n",
    ),
    (
        'every = pd.read_parquet(f"FOLDER/{as_of}.parquet")',
        'every = pd.read_parquet("ASKED")',
    ),
)


class FleetNights(Nights):
    """A small fleet from its first night on."""

    name: ClassVar[str] = FLEET
    asked: ClassVar[pd.DataFrame] = pd.DataFrame({"size": [-2.0, 0.3, 2.0], "usual": [0.5] * 3})

    def __init__(self) -> None:
        self.shops = dict(BEGIN)
        self.promoted: dict[tuple[str, date, str, int], str] = {}
        self.short: dict[int, str] = {}
        super().__init__()

    # What the fleet's file and its days are.

    def write_recipe(self) -> None:
        estimator, gate = RECIPES[self.recipe]
        asked = self.place / "asked.parquet"
        ahead = [make_shop(shop, date(2026, 1, 1), ASKED_EACH) for shop in EVERY]
        pd.concat(ahead).to_parquet(asked, index=False)
        self.model = write_fleet(
            self.place / "shops.py",
            self.place / "days",
            *((old.replace("FOLDER", str(self.place / "days")), new) for old, new in CHANGES[:2]),
            (
                CHANGES[2][0].replace("FOLDER", str(self.place / "days")),
                CHANGES[2][1].replace("ASKED", str(asked)),
            ),
            ("LogisticRegression()", estimator),
            ("gate=Gate(", gate.replace("slice_tolerance=1.0, ", "")),
        )
        forget_models()

    def write(self, first: int, last: int, rows: int = USUAL) -> None:
        """Write days of these numbers; ``rows`` more than usual are more in each partition."""
        for number in range(first, last + 1):
            counts = {shop: count + rows - USUAL for shop, count in self.shops.items()}
            self.write_shops(number, counts)

    def write_shops(
        self, number: int, counts: Mapping[str, int], bad: str = "", kind: str = ""
    ) -> None:
        """Write one day, on which one partition may be bad."""
        day = self.on(number)
        made = []
        for shop, count in counts.items():
            rows = make_shop(shop, day, count)
            if (shop == bad and kind == "broken rows") or kind == "all broken":
                rows.loc[rows.index[: max(2, count // 2)], "size"] = 99.0
            if shop == bad and kind == "one label":
                rows["bought"] = 1
            if shop != bad or kind != "no rows":
                made.append(rows)
        every = pd.concat(made)
        place = every["number"] % 1000
        every = every.assign(place=place).sort_values(["place", "number"]).drop(columns="place")
        (self.place / "days").mkdir(exist_ok=True)
        every.to_parquet(self.place / "days" / f"{day}.parquet", index=False)

    # What happens.

    @initialize(first=st.sampled_from(PATIENT), second=st.sampled_from(PATIENT))
    def first_nights(self, first: str, second: str) -> None:
        super().first_nights(first, second)

    def run(self) -> dict[str, Any]:
        """A night as of the newest day, and what must be so of each partition after it."""
        expected = ended_champions()
        report = self.retrain()
        after = champions()
        self.ended = self.shown = self.settled = True
        verdicts = self.verdicts(report)
        for name in {*expected, *after}:
            if verdicts.get(name) == Status.PROMOTED:
                night = (name, self.on(self.day), self.recipe, self.revision)
                assert self.promoted.setdefault(night, after[name]) == after[name], name
            else:
                assert after.get(name) == expected.get(name), (name, verdicts.get(name))
        return report

    def retrain(self) -> dict[str, Any]:
        """A night in this process, and what its end and report must say."""
        from flows.retrain import retrain
        from tasks.steps.config import RetrainConfig

        config = RetrainConfig(model=str(self.model), as_of=self.on(self.day))
        state: Any = retrain(config, return_state=True)
        report = state.result(raise_on_failure=False)
        if isinstance(report, Exception):
            raise report
        assert outcome_of(state) == report["verdict"]
        if fleet := report.get("fleet"):
            bad = fleet["counts"]["FAILED"] + fleet["counts"]["REJECTED"]
            assert state.is_failed() == bool(bad)
            self.check_report(report)
        return report  # type: ignore[no-any-return]

    def verdicts(self, report: Mapping[str, Any]) -> dict[str, str]:
        """Model to how it ended tonight."""
        found = {row["model"]: row["status"] for row in rows_of(report)}
        return found | {FLEET: report["verdict"]}

    def check_report(self, report: Mapping[str, Any]) -> None:
        """Each partition of the days is there once, and the counts are theirs."""
        rows, counts = rows_of(report), report["fleet"]["counts"]
        assert Counter(row["status"] for row in rows) == Counter(counts)
        values = [row["value"] for row in rows]
        assert len({*values}) == len(values)
        assert {*values} == self.shops_of_holdout(report["as_of"])
        assert not counts["FAILED"], [row for row in rows if row["status"] == "FAILED"]
        assert sum(counts.values()) == len(rows)
        for row in rows:
            if row["status"] == "FALLBACK":
                assert row["champion"] is None, row
            if row["status"] in (Status.PROMOTED, Status.KEPT, Status.HELD):
                assert row["status"] == Status.KEPT or row["champion"], row
        made = report["predictions"]
        if made and not made["fault"]:
            assert made["failed_parts"] == {}

    def shops_of_holdout(self, as_of: str) -> set[str]:
        """The partitions with a row in the newest days."""
        files = sorted((self.place / "days").glob("*.parquet"))
        newest = [file for file in files if file.stem <= as_of][-HOLDOUT:]
        return {shop for file in newest for shop in pd.read_parquet(file)["shop"].unique()}

    def weeks_without_a_night(self, missed: int) -> None:
        """Many nights are missed."""
        self.night(missed)

    def late_data(self, back: int) -> None:
        """A day or a partition of a day that was missing comes, or one comes again with more."""
        self.revision += 1
        missing = self.absent.pop() if self.absent else None
        if missing is None and self.short:
            missing, shop = self.short.popitem()
            self.write_shops(missing, self.shops | {shop: USUAL})
        else:
            day = missing or self.day - back
            self.write(day, day, rows=USUAL if missing else USUAL + 3)
        self.run()

    def one_is_bad(self, which: int, kind: str) -> None:
        """One partition's newest day is bad: it changes nothing of the others.

        The same night with good rows runs on a copy.
        """
        shop = sorted(self.shops)[which % len(self.shops)]
        self.day += 1
        self.write(self.day, self.day)
        copy = self.place / "undisturbed"
        copy_home(self.place / "home", copy)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NIGHTLY_HOME", str(copy))
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy / 'mlflow.db'}")
            patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
            good = self.retrain()
            undisturbed = {row["value"]: row for row in rows_of(good)}
            apart = published()
        self.write_shops(self.day, self.shops, shop, kind)
        if kind == "no rows":
            self.short[self.day] = shop
        report = self.run()
        if "fleet" not in report or report["fleet"] is None:
            raise AssertionError(report["reasons"])
        found = {row["value"]: row for row in rows_of(report)}
        if kind == "broken rows":
            assert found[shop]["status"] == Status.REJECTED
        if kind == "no rows" and shop in found:
            assert found[shop]["status"] in (Status.HELD, "FALLBACK")
        for other in {*found, *undisturbed} - {shop}:
            assert found[other] == undisturbed[other], (found[other], undisturbed[other])
        pd.testing.assert_frame_equal(of_others(published(), shop), of_others(apart, shop))

    def most_are_bad(self) -> None:
        """So the whole day is rejected and nothing changes; then it comes again, mended."""
        self.day += 1
        self.write(self.day, self.day)
        good = (self.place / "days" / f"{self.on(self.day)}.parquet").read_bytes()
        expected, waiting = ended_champions(), waiting_models()
        self.write_shops(self.day, self.shops, kind="all broken")
        report = self.run()
        assert (report["verdict"], report["fleet"]) == (Status.REJECTED, None)
        assert (champions(), waiting_models()) == (expected, waiting)
        self.check_app()
        (self.place / "days" / f"{self.on(self.day)}.parquet").write_bytes(good)
        self.revision += 1
        self.run()

    def retire(self, which: int) -> None:
        """A partition's champion is given up, and a night starts it anew; the others stay."""
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        names = with_own_champion()
        name = names[which % len(names)]
        others = self.others(name)
        self.withdrawn.add(f"{name} {champions()[name]}")
        config = RollbackConfig(model=name, retire=True, why="a person asked")
        assert outcome_of(rollback(config, return_state=True)) == "RETIRED"
        assert name not in champions()
        assert self.others(name) == others
        self.check_pages()
        self.shown = self.settled = False

    def a_partition_comes(self, rows: int) -> None:
        """A new partition, or one that had vanished; it may be thin."""
        gone = sorted({*BEGIN, NEW} - {*self.shops})
        self.shops[gone[0]] = rows
        self.night(0)

    def a_partition_vanishes(self, which: int, missed: int) -> None:
        shop = sorted(self.shops)[which % len(self.shops)]
        del self.shops[shop]
        self.night(missed)

    def a_partition_grows_or_shrinks(self, which: int, missed: int) -> None:
        """A thin one has as many rows as the others from now on, or the other way round."""
        shop = sorted(self.shops)[which % len(self.shops)]
        self.shops[shop] = THIN if self.shops[shop] == USUAL else USUAL
        self.night(missed)

    def night_without_data(self) -> None:
        """It changes nothing, but ends what was cut off and shows the champions."""
        expected, before, missed = ended_champions(), self.kept(), not (self.ended and self.shown)
        assert self.verdict(self.on(self.day + 1)) == Status.HELD
        assert champions() == expected
        assert missed or self.kept() == before
        self.shown = self.ended = True

    def same_night_again(self) -> None:
        before, settled = champions(), self.settled
        self.run()
        assert not settled or champions() == before
        kept = self.kept()
        self.run()
        assert self.kept() == kept

    def roll_back(self, which: int) -> None:
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        names = with_predecessor()
        name = names[which % len(names)]
        before, target, others = champions()[name], previous_of(name), self.others(name)
        self.shown = True
        state = rollback(RollbackConfig(model=name, why="a person asked"), return_state=True)
        assert outcome_of(state) == "ROLLED BACK", state.message
        assert champions()[name] == target
        self.withdrawn = self.withdrawn - {f"{name} {target}"} | {f"{name} {before}"}
        assert {key: found for key, found in self.others(name).items() if key in others} == others
        self.note("rollback of one" if value_of(name) else "rollback of the common model")

    def roll_back_in_another_home(self, which: int) -> None:
        """This home shows it after the same night again, or the next one, also without data."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NIGHTLY_HOME", str(self.place / "other"))
            self.shown = False
            self.roll_back(which)
        self.shown = self.settled = False

    def killed_roll_back(self, which: int, write: int) -> None:
        """A rollback is killed at a write to the registry; the same command again ends it."""
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        names = with_predecessor()
        name = names[which % len(names)]
        before, target, others = champions()[name], previous_of(name), self.others(name)
        config = RollbackConfig(model=name, why="a person asked")
        with killed_at(write):
            try:
                rollback(config, return_state=True)
            except Killed:
                self.note("killed rollback")
        if champions()[name] == before or ended_champions()[name] == target != champions()[name]:
            state = rollback(config, return_state=True)
            assert outcome_of(state) == "ROLLED BACK", state.message
        else:
            rollback(config, return_state=True)
        assert champions()[name] == target
        assert self.others(name) == others
        self.withdrawn = self.withdrawn - {f"{name} {target}"} | {f"{name} {before}"}
        self.shown = True

    def roll_back_all(self) -> None:
        """Each model that can go back does."""
        for which in range(len(with_predecessor())):
            if which < len(with_predecessor()):
                self.roll_back(which)

    def release(self) -> None:
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        for name in held_models(self):
            asked = RollbackConfig(model=name, release=True, why="a person asked")
            state = rollback(asked, return_state=True)
            assert outcome_of(state) == "RELEASED", state.message
        self.settled = False

    def decide_on_one(self, which: int, refuse: bool) -> None:
        names = waiting_models()
        self.decide_on(names[which % len(names)], refuse)

    def answer(self, refuse: bool) -> None:
        for name in waiting_models():
            self.decide_on(name, refuse)

    def decide_on(self, name: str, refuse: bool) -> None:
        from flows.approve import approve
        from tasks.steps.config import ApproveConfig

        one, before, others = waiting_now(name)[0], champions().get(name), self.others(name)
        config = ApproveConfig(model=name, by="Ada", why="seen", refuse=refuse)
        state: Any = approve(config, return_state=True)
        after = champions().get(name)
        if refuse:
            assert (outcome_of(state), after) == ("REFUSED", before), state.message
            self.withdrawn.add(f"{name} {one.version}")
            self.note("refusal")
        elif one.against == before:
            assert (outcome_of(state), after) == ("APPROVED", one.version), state.message
            self.shown, self.settled = True, False
            self.note("approval")
        else:
            assert (state.is_failed(), after) == (True, before)
        assert self.others(name) == others

    # What must be so.

    @invariant()
    def at_most_one_waits(self) -> None:
        if not self.ended:
            return
        for name in models():
            waiting = [one.version for one in waiting_now(name)]
            assert len(waiting) <= 1, name
            gone = {one.split()[1] for one in self.withdrawn if one.split()[0] == name}
            assert not {*waiting} & (gone | {champions().get(name)})

    @invariant()
    def the_champion_answers(self) -> None:
        import mlflow

        mlflow.set_tracking_uri(settings.tracking_uri())
        for name in champions():
            found = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(self.asked)
            assert np.isfinite(np.asarray(found)).all()

    @invariant()
    def what_was_taken_back_is_not_champion(self) -> None:
        if self.ended:
            assert not {f"{name} {version}" for name, version in champions().items()} & (
                self.withdrawn
            )

    @invariant()
    def no_date_is_promoted_twice(self) -> None:
        for name in models():
            promoted = [r for r in past_reports(name, date.max) if r["verdict"] == "PROMOTED"]
            assert len({r["as_of"] for r in promoted}) == len(promoted)

    @invariant()
    def nothing_is_left_open(self) -> None:
        """A change of champion that was cut off is ended by the next night, whoever's it was."""
        if self.ended:
            assert not open_changes()

    @invariant()
    def retention_keeps_few(self) -> None:
        """Three, and what aliases, anchors, holds and persons need."""
        for name in models():
            kept = versions_of(name)
            assert len(kept) < 14, (name, kept)
            if kept and len(kept) < int(kept[-1]):
                self.note("retention")

    def check_app(self) -> None:
        here = settings.home().name
        for machine in self.machines if here in self.machines else (here,):
            if champions().get(FLEET) is not None:
                self.go(machine)
                self.check_table()
                self.check_pages()
        self.go(here)

    def check_table(self) -> None:
        """Every request once, answered by the champion of its partition, else by the common one."""
        import mlflow

        rows, now = published(), champions()
        asked = pd.read_parquet(self.place / "asked.parquet")
        assert sorted(rows["number"]) == sorted(asked["number"])
        file = publish.folder_of(FLEET) / publish.INPUTS  # none where the champion's code is older
        inputs = pd.read_parquet(file) if file.is_file() else None
        mlflow.set_tracking_uri(settings.tracking_uri())
        for shop, own in rows.groupby("shop"):
            name = model_name(FLEET, str(shop))
            name = name if name in now else FLEET
            assert {*own["model"]} == {name}, (shop, {*own["model"]})
            assert {*own["version"]} == {now[name]}, (shop, {*own["version"]}, now[name])
            if inputs is None:
                continue
            given = inputs.set_index("number").loc[own["number"]]
            model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
            found = np.asarray(model.predict(given[["size", "usual"]].reset_index(drop=True)))
            assert np.allclose(found[:, -1], own["probability"].to_numpy(), rtol=0, atol=1e-12), (
                shop
            )

    def check_pages(self) -> None:
        """The pages of the fleet and of its models name the champions of now."""
        now, reports = champions(), settings.home() / "reports"
        for name in models():
            page = reports / name / "history.html"
            if page.is_file() and name in now:
                assert f"version {now[name]} (logistic)" in page.read_text(), name
        page = reports / FLEET / "partitions.html"
        if not page.is_file():
            return
        for line in re.findall(r"<tr>.*?</tr>", page.read_text(), re.DOTALL)[1:]:
            cells = [re.sub(r"<[^>]*>", "", each) for each in re.findall(r"<td.*?</td>", line)]
            said = re.match(r"version (\d+)", cells[2])
            version = now.get(model_name(FLEET, cells[0]))
            assert (said.group(1) if said else None) == version, cells

    def others(self, name: str) -> dict[str, Any]:
        """All that belongs to the other models of the fleet, byte for byte."""
        found = {other: footprint(other) for other in models() if other != name}
        if self.shown and publish.last_published(FLEET) and value_of(name):
            rows = published()
            found["table"] = rows[rows["model"] != name].to_dict()
            if name not in {*rows["model"]}:  # the first champion of a partition takes over
                found["table"] = rows[rows["shop"] != value_of(name)].to_dict()
        ledger = settings.home() / "fleets" / f"{FLEET}.json"
        return found | {"ledger": ledger.read_bytes() if ledger.is_file() else b""}

    def kept(self) -> dict[str, Any]:
        home = settings.home()
        found: dict[str, Any] = {
            str(file.relative_to(home)): file.read_bytes()
            for room in ("live", "predictions", "fleets")
            for file in (home / room).rglob("*")
            if file.is_file()
        }
        until = self.on(self.day)
        for name in models():
            found |= {f"{name} {report['as_of']}": report for report in past_reports(name, until)}
            found[name] = registered(name)
        found |= {f"report {r['as_of']}": r for r in past_reports(FLEET, until)}
        for file in (home / "reports" / FLEET).glob("*/partitions.json"):
            found[str(file)] = file.read_bytes()
        return found


def make_shop(shop: str, day: date, rows: int) -> pd.DataFrame:
    """The rows of one partition on one day; they hang on no other's."""
    code = EVERY.index(shop)
    random = np.random.default_rng([day.toordinal(), code])
    both = random.normal(size=(rows, 2))
    return pd.DataFrame(
        {
            "number": np.arange(rows) + 1000 * code + 100_000 * day.toordinal(),
            "size": both[:, 0],
            "shop": shop,
            "bought": (both.sum(axis=1) > 0).astype("int64"),
        }
    )


def published() -> pd.DataFrame:
    """What the app reads, but for when it was made."""
    rows = pd.read_parquet(publish.folder_of(FLEET) / publish.CURRENT)
    return rows.drop(columns="made_at").sort_values("number").reset_index(drop=True)


def of_others(rows: pd.DataFrame, shop: str) -> pd.DataFrame:
    """The rows that champions of other partitions predicted."""
    own = (rows["model"] != FLEET) & (rows["shop"] != shop)
    return rows[own].reset_index(drop=True)


def rows_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The partitions of a night."""
    if not report.get("fleet"):
        return []
    place = report_folder(FLEET, date.fromisoformat(report["as_of"]))
    found: list[dict[str, Any]] = json.loads((place / "partitions.json").read_text())
    return found


def models() -> list[str]:
    """The models of the fleet in the registry."""
    from tasks.registry import client

    found = client.open_registry().search_registered_models(max_results=1000)
    return sorted(model.name for model in found if fleet_of(model.name) == FLEET)


def champions() -> dict[str, str]:
    """Model to the version of its champion."""
    from tasks.registry import client, versions

    found = versions.champions(client.open_registry())
    return {name: version for name, version in found.items() if fleet_of(name) == FLEET}


def open_changes() -> dict[str, Any]:
    """Model to its change of champion that was cut off."""
    from tasks.registry import client, versions

    registry = client.open_registry()
    tags = {name: registry.get_registered_model(name).tags for name in models()}
    return {
        name: json.loads(each[versions.JOURNAL])
        for name, each in tags.items()
        if versions.JOURNAL in each
    }


def ended_champions() -> dict[str, str]:
    """The champions once changes that were cut off are ended."""
    begun = {name: one["champion"] for name, one in open_changes().items() if "champion" in one}
    return champions() | begun


def with_predecessor() -> list[str]:
    """The models with a champion and a version to go back to."""
    return [name for name in champions() if previous_of(name) is not None]


def with_own_champion() -> list[str]:
    """The models of partitions that have a champion."""
    return [name for name in champions() if value_of(name)]


def waiting_models() -> list[str]:
    """The models with a version that waits."""
    return [name for name in models() if waiting_now(name)]


def held_models(machine: Nights) -> list[str]:
    """The models with a recipe that is held."""
    return [name for name in models() if is_held(machine, name)]


def registered(name: str) -> dict[str, Any]:
    """What the registry has of one model."""
    from tasks.registry import client

    registry = client.open_registry()
    model = registry.get_registered_model(name)
    versions = registry.search_model_versions(f"name = '{name}'")
    return {
        "aliases": dict(model.aliases),
        "tags": dict(model.tags),
        "versions": {str(v.version): dict(v.tags) for v in versions},
    }


def footprint(name: str) -> dict[str, Any]:
    """What the registry has of one model, and its files."""
    home = settings.home()
    files = {
        str(file.relative_to(home)): file.read_bytes()
        for room in ("reports", "live")
        for file in (home / room / name).rglob("*")
        if file.is_file() and file.name != "partitions.html"
    }
    return registered(name) | files


def is_ready(machine: FleetNights) -> bool:
    return machine.ended


WHICH = st.integers(0, 9)
SHARES = ("night", "night_after_a_missing_day", "night_that_asks", "night_of_another_home")
FleetNights.happens = {
    **{name: Nights.happens[name] for name in SHARES},
    **{name: Nights.happens[name] for name in ("backfill", "same_night_again")},
    "edit": (lambda _: True, {"recipe": st.sampled_from(EDITS)}),
    "night_without_data": (lambda _: True, {}),
    "weeks_without_a_night": (lambda _: True, {"missed": st.integers(6, 16)}),
    "killed_night": (lambda _: True, {"write": st.integers(0, 50)}),
    "late_data": (is_ready, {"back": st.integers(0, 9)}),
    "one_is_bad": (
        lambda machine: machine.ended and machine.shown and len(machine.machines) == 1,
        {"which": WHICH, "kind": st.sampled_from(KINDS)},
    ),
    "most_are_bad": (is_ready, {}),
    "retire": (
        lambda machine: machine.ended and machine.shown and bool(with_own_champion()),
        {"which": WHICH},
    ),
    "a_partition_comes": (
        lambda machine: len(machine.shops) < len(BEGIN) + 1,
        {"rows": st.sampled_from((USUAL, THIN))},
    ),
    "a_partition_vanishes": (
        lambda machine: len(machine.shops) > 3,
        {"which": WHICH, "missed": st.sampled_from((0, 1, 9))},
    ),
    "a_partition_grows_or_shrinks": (
        lambda _: True,
        {"which": WHICH, "missed": st.sampled_from((0, 3, 9))},
    ),
    "roll_back": (lambda machine: machine.ended and bool(with_predecessor()), {"which": WHICH}),
    "killed_roll_back": (
        lambda machine: machine.ended and bool(with_predecessor()),
        {"which": WHICH, "write": st.integers(0, 6)},
    ),
    "roll_back_in_another_home": (
        lambda machine: (
            machine.ended
            and (machine.place / "other" / "reports").exists()
            and bool(with_predecessor())
        ),
        {"which": WHICH},
    ),
    "roll_back_all": (lambda machine: machine.ended and bool(with_predecessor()), {}),
    "release": (lambda machine: machine.ended and bool(held_models(machine)), {}),
    "decide": (
        lambda machine: machine.ended and bool(waiting_models()),
        {"refuse": st.booleans()},
    ),
    "decide_on_one": (
        lambda machine: machine.ended and bool(waiting_models()),
        {"which": WHICH, "refuse": st.booleans()},
    ),
}
