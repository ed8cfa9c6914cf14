"""Random sequences of what happens to a model: nights, late data, edits, kills, people, two homes.

A state machine of hypothesis runs the real flows on the toy model with a registry in SQLite, and
after each step holds them against what must always be so. What happens may happen on machines that
share their state in turn; then it must be so on each of them. Prefect's
engine is not there (``tests/inline.py``) but where workers are asked for.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tasks import settings
from tasks.monitoring import live_days, live_performance
from tasks.predictions import publish
from tasks.reporting import decisions
from tasks.reporting.archive import past_reports
from tasks.spec import loading
from tasks.steps.ending import outcome_of
from tasks.store import changes, files, mirror, records, state_database
from tests.inline import without_engine
from tests.nights import champion_of, nth_day, run_night, versions_of, write_model
from tests.toy import write_day

FIRST_NIGHT = 30
ASKED = pd.DataFrame({"size": [-2.0, 0.3, 2.0], "shop": [0, 1, 1], "usual": [0.5, 0.4, 0.6]})
ONE_RECIPE = (
    ('        "constant": DummyClassifier(),\n', ""),
    ('        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),\n', ""),
)
RECIPES = {
    "good": ("LogisticRegression()", "gate=Gate("),
    "as good": ("LogisticRegression(C=0.5)", "gate=Gate("),
    "spoilt": (
        "DecisionTreeClassifier(max_depth=1)",
        "gate=Gate(tolerance=1.0, slice_tolerance=1.0, ",
    ),
    "asking": ("LogisticRegression()", "gate=Gate(approve=True, "),
    "in the shadow": ("LogisticRegression()", "gate=Gate(shadow=days(2), "),
}
"""Recipe and gate by name; the gate of the spoilt one lets it pass."""
PATIENT = ("good", "asking", "in the shadow")
"""Those that a sequence may begin with."""
METRIC, PATIENCE = "average_precision", 2
"""The toy's metric, and graded days after which a champion is reverted here."""
UNSEEN = 5
"""How much likelier something is that has not happened in the sequence yet."""
WRITES = (
    "create_model_version",
    "delete_model_version",
    "delete_registered_model_alias",
    "delete_registered_model_tag",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_registered_model_tag",
)
"""Calls that change the registry; a night may be killed at each of them."""


HELD = "SELECT count(*) FROM nightly_leases WHERE expires > clock_timestamp()"
Reached = Mapping[str, tuple[int, int]]
"""What happened, how often, and in how many sequences."""


class Killed(BaseException):
    """The night ends here, as if its process were killed."""


Asked = Mapping[str, st.SearchStrategy[Any]]
Happens = tuple[Callable[[Any], bool], Asked]


class Nights(RuleBasedStateMachine):
    """One model from its first night on; each rule is something that happens to it.

    Attributes:
        name: Of the model.
        happens: What may happen, when it can, and what is drawn for it.
    """

    name: ClassVar[str] = "toy"
    happens: ClassVar[Mapping[str, Happens]]
    empty_registry: ClassVar[Path]
    asked: ClassVar[pd.DataFrame] = ASKED
    settings_of: ClassVar[Callable[[Path], Mapping[str, str]]]
    machines: ClassVar[Sequence[str]]
    finished: ClassVar[Callable[[Reached], None]]
    counted: ClassVar[Counter[str]]
    sequences: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.place = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="nightly-")))
        self.patch = patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        given = self.settings_of(self.place)
        if "NIGHTLY_WORKERS" not in given:
            self.stack.enter_context(without_engine())
        patch.setenv("NIGHTLY_HOME", str(self.place / "home"))
        for name, value in given.items():
            patch.setenv(name, value)
        patch.setenv("NIGHTLY_KEEP_VERSIONS", "3")
        patch.setenv("NIGHTLY_SEAL_KEY", "0" * 64)  # both homes have the same
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{self.place / 'home' / 'mlflow.db'}")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        (self.place / "home").mkdir()
        shutil.copyfile(self.empty_registry, self.place / "home" / "mlflow.db")
        self.write(1, FIRST_NIGHT)
        self.day = FIRST_NIGHT
        self.recipe = "good"
        self.withdrawn: set[str] = set()
        self.served: set[str] = set()
        self.made: dict[tuple[date, str, int], str] = {}
        self.revision = 0
        self.absent: list[int] = []
        self.ended = True
        self.shown = True
        self.settled = False
        self.happened: set[str] = set()
        self.write_recipe()

    def teardown(self) -> None:
        kept = versions_of()
        if kept and len(kept) < int(kept[-1]):
            self.note("retention")
        self.stack.close()
        self.sequences.update(self.happened)
        type(self).finished(reached(self.happens, self.counted, self.sequences))

    def go(self, machine: str) -> None:
        """What follows happens on this machine."""
        self.patch.setenv("NIGHTLY_HOME", str(self.place / machine))
        mirror.pull()

    def note(self, name: str) -> None:
        """Something has happened."""
        self.happened.add(name)
        self.counted[name] += 1

    def write_recipe(self) -> None:
        estimator, gate = RECIPES[self.recipe]
        patience = f"revert=Revert(patience=days({PATIENCE})), "
        changes = (
            ("LogisticRegression(),", f"{estimator},"),
            ("gate=Gate(", f"{patience}{gate}"),
            ("import Gate, ModelSpec,", "import Gate, ModelSpec, Revert,"),
            *self.more_changes(),
        )
        self.model = write_model(self.place / "toy.py", self.place / "days", *ONE_RECIPE, *changes)
        forget_models()

    def more_changes(self) -> Sequence[tuple[str, str]]:
        """What else differs in the model's file from the toy's."""
        return ()

    def on(self, number: int) -> date:
        """The day of this number on which there is business."""
        return nth_day(number)

    def write(self, first: int, last: int, rows: int = 200) -> None:
        """Write days of these numbers."""
        for number in range(first, last + 1):
            write_day(self.place / "days", self.on(number), rows)

    def run(self) -> dict[str, Any]:
        """A night as of the newest day, and what must be so of its promotion."""
        before = champion_of()
        report = run_night(self.model, self.on(self.day))
        after = champion_of()
        self.ended = self.shown = self.settled = True
        if report.get("reverted"):
            assert before is not None
            self.withdrawn.add(before)
            self.note("revert")
        if report["verdict"] == "PROMOTED":
            night = (self.on(self.day), self.recipe, self.revision)
            assert after is not None
            assert self.made.setdefault(night, after) == after, "a second promotion of one date"
        elif not report.get("reverted"):
            assert after == before
        assert after not in self.withdrawn
        return report

    def verdict(self, as_of: date) -> str:
        """How a night ends that may end without a promotion."""
        from flows.retrain import retrain
        from tasks.steps.config import RetrainConfig

        config = RetrainConfig(model=str(self.model), as_of=as_of)
        return outcome_of(retrain(config, return_state=True))

    @initialize(first=st.sampled_from(PATIENT), second=st.sampled_from(PATIENT))
    def first_nights(self, first: str, second: str) -> None:
        """Two nights, so that there is something to go back to, or a version that waits."""
        self.edit(first)
        asks = first == "asking"
        assert self.run()["verdict"] == ("WAITING" if asks else "PROMOTED")
        if asks:
            self.answer(refuse=False)
        self.edit(second)
        self.night(0)

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """One of ``happens``; what has not happened in this sequence yet is likelier."""
        if len(self.machines) > 1:
            self.go(data.draw(st.sampled_from(self.machines), "on machine"))
        may = [name for name, (when, _) in self.happens.items() if when(self)]
        unseen = [name for name in may if name not in self.happened]
        seen = [name for name in may if name in self.happened]
        name = data.draw(st.sampled_from(UNSEEN * unseen + seen), "what happens")
        asked = {key: data.draw(values, key) for key, values in self.happens[name][1].items()}
        self.note(name)
        getattr(self, name)(**asked)

    def night(self, missed: int) -> None:
        """The next night; some nights before it may have been missed."""
        first, self.day = self.day + 1, self.day + 1 + missed
        self.write(first, self.day)
        self.run()

    def night_after_a_missing_day(self) -> None:
        """The day before is not there; it comes later, or never."""
        self.absent.append(self.day + 1)
        self.day += 2
        self.write(self.day, self.day)
        self.run()

    def late_data(self, back: int) -> None:
        """A day that was missing comes, or an earlier one comes again with more rows."""
        missing = self.absent.pop() if self.absent else None
        day = missing or self.day - back
        self.write(day, day, rows=200 if missing else 230)
        self.revision += 1
        self.run()

    def night_of_another_home(self) -> None:
        """Another machine runs the next night on the same registry, with a state of its own."""
        self.day += 1
        self.write(self.day, self.day)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NIGHTLY_HOME", str(self.place / "other"))
            self.run()
            self.check_app()
        mirror.pull()
        # else a home shows what it has published, and knows of its own nights
        self.shown = self.settled = settings.state_url() is not None

    def night_without_data(self) -> None:
        """It changes nothing, but shows the champion where the app reads another version."""
        before, champion, missed = self.kept(), champion_of(), not (self.ended and self.shown)
        assert self.verdict(self.on(self.day + 1)) == "HELD"
        assert champion_of() == champion
        assert missed or self.kept() == before
        self.shown = True

    def same_night_again(self) -> None:
        """It changes nothing but after an edit, a release, an approval, or another home's night."""
        before, settled = champion_of(), self.settled
        self.run()
        assert not settled or champion_of() == before or before in self.withdrawn

    def night_that_asks(self) -> None:
        """A person says that the gate must ask, then comes the next night."""
        self.edit("asking")
        self.night(0)

    def live_days_turn_bad(self) -> None:
        """Graded days show champions far worse than what they are compared with; then a monitor."""
        from flows.monitor import monitor
        from tasks.steps.config import RetrainConfig

        before = champion_of()
        assert before is not None
        for place, day in enumerate(comparable_days(self.on(self.day))):
            ours, theirs = ({METRIC: level} for level in (0.6 + place % 2 / 1000, 0.8))
            bad = {"metrics": ours, "previous": theirs, "anchor": theirs}
            files.write_json(live_days.live_folder("toy") / f"{day['day']}.json", day | bad)
        config = RetrainConfig(model=str(self.model), as_of=self.on(self.day))
        if outcome_of(monitor(config, return_state=True)) == "REVERTED":
            self.withdrawn.add(before)
            self.note("revert")
            assert champion_of() != before
        self.shown = True

    def edit(self, recipe: str) -> None:
        self.recipe, self.settled = recipe, False
        self.write_recipe()

    def backfill(self, back: int) -> None:
        """Before the newest night that this home has judged; another's it knows only if shared."""
        judged = [one for one in past_reports(self.name, date.max) if one["verdict"] != "HELD"]
        newest = max(date.fromisoformat(one["as_of"]) for one in judged)
        before, as_of = self.kept(), newest - timedelta(days=back)
        decided = before.get(f"report {as_of}", {}).get("verdict")
        assert self.verdict(as_of) in ("KEPT", "HELD", decided)
        assert self.kept() == before

    def killed_night(self, write: int) -> None:
        """The next night is killed at a write to the registry, or ends where it has fewer."""
        self.day += 1
        self.write(self.day, self.day)
        with killed_at(write):
            try:
                self.run()
            except Killed:
                self.ended = False

    def roll_back(self) -> None:
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        before, target = champion_of(), previous_of()
        assert before is not None
        assert target is not None
        state = rollback(RollbackConfig(model="toy", why="a person asked"), return_state=True)
        assert outcome_of(state) == "ROLLED BACK"
        assert champion_of() == target
        self.shown = True
        self.withdrawn = self.withdrawn - {target} | {before}

    def put_back(self, which: int) -> None:
        """A version was withdrawn by mistake: a person makes it the champion again."""
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        before, named = champion_of(), withdrawn_versions(self)
        target = named[which % len(named)]
        config = RollbackConfig(model="toy", to=int(target), why="it was not at fault")
        state = rollback(config, return_state=True)
        assert (outcome_of(state), champion_of()) == ("ROLLED BACK", target)
        undone = before is None or int(before) < int(target)
        self.withdrawn = self.withdrawn - {target} | (set() if undone else {before or ""})
        assert target not in read_withdrawn() and (not undone or before not in read_withdrawn())
        self.shown, self.settled = True, False

    def retire(self, again: bool) -> None:
        """The champion is given up; the same night again, or the next one, starts anew."""
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        before = champion_of()
        assert before is not None
        config = RollbackConfig(model="toy", retire=True, why="a person asked")
        assert outcome_of(rollback(config, return_state=True)) == "RETIRED"
        assert champion_of() is None
        self.withdrawn.add(before)
        self.made = {night: made for night, made in self.made.items() if made != before}
        self.settled = False
        if again:
            self.run()
        else:
            self.night(0)

    def release(self) -> None:
        from flows.rollback import rollback
        from tasks.steps.config import RollbackConfig

        asked = RollbackConfig(model="toy", release=True, why="a person asked")
        assert outcome_of(rollback(asked, return_state=True)) == "RELEASED"
        self.settled = False

    def decide(self, refuse: bool) -> None:
        """A person approves the version that waits, also one in the shadow, or refuses it."""
        self.answer(refuse)

    def answer(self, refuse: bool) -> None:
        from flows.approve import approve
        from tasks.steps.config import ApproveConfig

        one, before = waiting_now()[0], champion_of()
        config = ApproveConfig(model="toy", by="Ada", why="seen", refuse=refuse)
        state: Any = approve(config, return_state=True)
        if refuse:
            assert (outcome_of(state), champion_of()) == ("REFUSED", before)
            self.withdrawn.add(one.version)
            self.note("refusal")
        elif one.against == before:
            assert (outcome_of(state), champion_of()) == ("APPROVED", one.version)
            self.shown, self.settled = True, False
            self.note("approval")
        else:
            assert (state.is_failed(), champion_of()) == (True, before)

    @invariant()
    def at_most_one_waits(self) -> None:
        if self.ended:
            waiting = [one.version for one in waiting_now()]
            assert len(waiting) <= 1
            assert not {*waiting} & (self.withdrawn | {champion_of()})

    @invariant()
    def the_champion_answers(self) -> None:
        import mlflow

        if (champion := champion_of()) is None:
            return
        self.served.add(champion)
        mlflow.set_tracking_uri(settings.tracking_uri())
        found = mlflow.pyfunc.load_model("models:/toy@champion").predict(self.asked)
        assert np.isfinite(np.asarray(found)).all()

    @invariant()
    def what_was_taken_back_is_not_champion(self) -> None:
        if self.ended:
            assert champion_of() not in self.withdrawn

    @invariant()
    def the_app_reads_the_champion(self) -> None:
        """A killed night, or one of another home, may leave them behind until the next one."""
        if self.ended and self.shown:
            self.check_app()

    def check_app(self) -> None:
        """On each machine rows and page are of the champion."""
        champion, here = champion_of(), settings.home().name
        for machine in self.machines if here in self.machines else (here,):
            if champion is not None:
                self.go(machine)
                self.check_rows(champion)
        self.go(here)

    def check_rows(self, champion: str) -> None:
        """Rows and page of this machine are of the champion."""
        rows = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
        assert {*rows["version"]} == {champion}
        page = (settings.home() / "reports" / "toy" / "history.html").read_text()
        assert f"version {champion} (logistic)" in page

    @invariant()
    def machines_tell_the_same(self) -> None:
        """Their files are those of the shared state, and none of them holds the model."""
        if settings.state_url() is None:
            return
        here = settings.home().name
        for machine in self.machines:
            self.go(machine)
            assert mirror.differing(records.newer(0)) == []
        self.go(here)
        assert state_database.run(lambda c: c.exec_driver_sql(HELD).scalar()) == 0
        assert not self.ended or changes.open_models() == []

    @invariant()
    def no_date_is_promoted_twice(self) -> None:
        promoted = [r for r in past_reports("toy", date.max) if r["verdict"] == "PROMOTED"]
        assert len({r["as_of"] for r in promoted}) == len(promoted)

    def kept(self) -> dict[str, Any]:
        """All that nights, people and the app look at, but for what a backfill writes beside."""
        from tasks.registry.client import open_registry

        client, home = open_registry(), settings.home()
        found: dict[str, Any] = {
            str(file.relative_to(home)): file.read_bytes()
            for room in ("live", "predictions")
            for file in (home / room).rglob("*")
            if file.is_file()
        }
        found |= {
            f"report {report['as_of']}": report for report in past_reports("toy", self.on(self.day))
        }
        found["aliases"] = client.get_registered_model("toy").aliases
        found["versions"] = [dict(v.tags) for v in client.search_model_versions("name = 'toy'")]
        return found


@contextmanager
def killed_at(write: int) -> Iterator[None]:
    """All writes to the registry from this one on raise ``Killed``."""
    import mlflow

    left = [write]

    def killing(call: Any) -> Any:
        def write_or_die(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(*args, **kwargs)

        return write_or_die

    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            call = getattr(mlflow.MlflowClient, name)
            patch.setattr(mlflow.MlflowClient, name, killing(call))
        yield


def forget_models() -> None:
    """What follows reads model files as they are now, as the process of a later night does."""
    for name in [name for name in sys.modules if name.startswith(loading.MODULE_OF_FILE)]:
        del sys.modules[name]
    decisions._first_digest.cache_clear()


def waiting_now(model: str = "toy") -> list[Any]:
    """The versions that wait, the newest first."""
    from tasks.registry import client, waiting

    return waiting.read_waiting(client.open_registry(), model)


def is_held(machine: Nights, model: str = "toy") -> bool:
    """Whether a recipe is held on the newest night."""
    from tasks.registry import client, holds

    found = holds.read_holds(client.open_registry(), model)
    return any(hold.until >= machine.on(machine.day) for hold in found)


def previous_of(model: str = "toy") -> str | None:
    """The version that a rollback goes back to."""
    from tasks.registry import client, versions

    return versions.read_alias(client.open_registry(), model, versions.PREVIOUS)


def read_withdrawn() -> dict[str, str]:
    """What the registry says was withdrawn, and why."""
    from tasks.registry import client, versions

    return versions.read_withdrawn(client.open_registry(), "toy")


def withdrawn_versions(machine: Nights) -> list[str]:
    """Versions that were champion, are withdrawn, and are there still."""
    return sorted(machine.withdrawn & {*versions_of()} & {*machine.served}, key=int)


def has_predecessor() -> bool:
    """Whether there is a champion, and a version to go back to."""
    return previous_of() is not None and champion_of() is not None


def comparable_days(until: date) -> list[dict[str, Any]]:
    """Graded days by which the champion can be reverted: of its line, else beside its predecessor.

    Args:
        until: The newest night.
    """
    from tasks.registry import anchors, client

    registry, champion = client.open_registry(), champion_of()
    days = live_days.past_days("toy", until)
    anchor = anchors.read_anchor(registry, "toy")
    if anchor and anchor.version != champion:
        withdrawn = read_withdrawn()
        line = live_performance.line_of(days, anchor.version, anchor.since, withdrawn)
        if len(line) >= min(live_performance.LINE_DAYS):
            return line
    if (previous := previous_of()) is None:
        return []
    both = (champion, previous)
    pair = [day for day in days if (day["version"], day["previous_version"]) == both]
    return pair if len(pair) >= PATIENCE else []


Nights.happens = {
    "night": (lambda _: True, {"missed": st.integers(0, 2)}),
    "night_after_a_missing_day": (lambda _: True, {}),
    "night_that_asks": (lambda _: True, {}),
    "live_days_turn_bad": (
        lambda machine: machine.ended and bool(comparable_days(machine.on(machine.day))),
        {},
    ),
    "night_of_another_home": (lambda machine: machine.ended, {}),
    "night_without_data": (lambda _: True, {}),
    "killed_night": (lambda _: True, {"write": st.integers(0, 12)}),
    "same_night_again": (lambda machine: machine.ended, {}),
    "late_data": (lambda machine: machine.ended, {"back": st.integers(0, 9)}),
    "backfill": (lambda machine: machine.ended, {"back": st.integers(1, 8)}),
    "edit": (lambda _: True, {"recipe": st.sampled_from(sorted(RECIPES))}),
    "roll_back": (lambda machine: machine.ended and has_predecessor(), {}),
    "put_back": (
        lambda machine: machine.ended and bool(withdrawn_versions(machine)),
        {"which": st.integers(0, 3)},
    ),
    "retire": (
        lambda machine: machine.ended and champion_of() is not None,
        {"again": st.booleans()},
    ),
    "release": (lambda machine: machine.ended and is_held(machine), {}),
    "decide": (lambda machine: machine.ended and bool(waiting_now()), {"refuse": st.booleans()}),
}
FOLLOWS = ("revert", "approval", "refusal", "retention")
"""What may follow from it; counted as well."""


def reached(happens: Iterable[str], counted: Counter[str], sequences: Counter[str]) -> Reached:
    """How often each thing happened, and in how many sequences."""
    names = dict.fromkeys((*happens, *FOLLOWS, *sorted(counted)))
    return {name: (counted[name], sequences[name]) for name in names}


def run_sequences(
    empty_registry: Path,
    count: int,
    steps: int,
    seed: int | None = None,
    finished: Callable[[Reached], None] = lambda _: None,
    settings_of: Callable[[Path], Mapping[str, str]] = lambda _: {},
    machines: Sequence[str] = ("home",),
    nights: type[Nights] = Nights,
) -> None:
    """Run ``count`` sequences of up to ``steps`` steps each.

    Args:
        empty_registry: A database that MLflow has initialised.
        count: Sequences.
        steps: Steps of each, after the first night.
        seed: Of the random choices; None for the same ones each time.
        finished: Called after each sequence with what happened so far.
        settings_of: Variables of the environment, of the folder of a sequence.
        machines: State directories in that folder; several need a state that they share.
        nights: What happens, and to which model.
    """
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test

    counted, sequences = Counter[str](), Counter[str]()
    machine = type(
        "Sequences",
        (nights,),
        {
            "empty_registry": empty_registry,
            "finished": staticmethod(finished),
            "settings_of": staticmethod(settings_of),
            "machines": machines,
            "counted": counted,
            "sequences": sequences,
        },
    )
    if seed is not None:
        machine = hypothesis.seed(seed)(machine)
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=count,
            phases=[hypothesis.Phase.generate],  # to look for a shorter one takes hours
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=seed is None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
