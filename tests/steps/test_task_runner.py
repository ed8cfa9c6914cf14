"""Where parts of a run go, and what a worker refuses."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasks.spec import SpecError
from tasks.spec.loading import load_spec
from tasks.spec.same_code import Marks, marks_of
from tasks.steps import on_worker, task_runner
from tasks.steps.on_worker import Sent, WorkerError, run_sent
from tasks.steps.prepare import clean_part
from tasks.store import mirror
from tests.nights import TOY


@pytest.mark.parametrize(("count", "sizes"), [(4, [2, 3, 3, 2]), (1, [10]), (20, [1] * 10)])
def test_parts_are_neighbours_of_about_one_size(count: int, sizes: list[int]) -> None:
    found = task_runner.parts(range(10), count)
    assert [len(part) for part in found] == sizes
    assert [one for part in found for one in part] == list(range(10))


def test_without_workers_nothing_is_spread_and_no_part_of_dask_is_imported() -> None:
    assert not task_runner.has_workers()
    assert not task_runner.spread(clean_part, range(10), "toy", {})
    assert type(task_runner.ChosenRunner().duplicate()).__name__ == "ThreadPoolTaskRunner"


def test_one_task_for_several_candidates_needs_the_most_of_each() -> None:
    needs: list[dict[str, float]] = [{"GPU": 1}, {"GPU": 2, "disk": 1}, {}]
    assert task_runner.largest(needs) == {"GPU": 2, "disk": 1}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, home: Path) -> Sent:
    """What a worker of the same code, libraries and state directory is sent."""
    monkeypatch.setattr(on_worker, "_prepare", lambda: None)
    monkeypatch.setattr(on_worker, "_run", lambda sent: f"ran {sent.name}")
    home.mkdir()
    (home / on_worker.TOKEN).write_text("token")
    marks = marks_of(load_spec(str(TOY)))
    parts: Mapping[str, Any] = {}
    return Sent("tasks.steps.train", "fit", str(TOY), marks, "token", None, "{}", uuid4(), parts)


def refused(sent: Sent) -> str:
    with pytest.raises(WorkerError) as error:
        run_sent(pickle.dumps(sent))
    assert not error.value.may_pass
    return str(error.value)


def test_a_worker_of_the_same_code_libraries_and_state_runs_the_task(sent: Sent) -> None:
    assert run_sent(pickle.dumps(sent)) == "ran fit"


def test_a_worker_with_other_code_refuses_with_both_digests(sent: Sent) -> None:
    told = refused(replace(sent, expected=Marks("f" * 64, sent.expected.libraries)))
    assert f"has other code: found digest {sent.expected.code[:12]}, expected ffffffffffff." in told


def test_a_worker_with_other_libraries_refuses_with_both_digests_and_names_them(sent: Sent) -> None:
    other = Marks(sent.expected.code, {**sent.expected.libraries, "pandas": "1.0"})
    told = refused(replace(sent, expected=other))
    digests = sent.expected.library_digest[:12], other.library_digest[:12]
    assert f"found digest {digests[0]}, expected {digests[1]} (pandas " in told
    assert "expected 1.0)" in told


def test_a_worker_that_has_no_such_model_or_another_state_directory_refuses(sent: Sent) -> None:
    assert "cannot load the model: There is no model" in refused(replace(sent, model="nothing"))
    assert "has another state directory" in refused(replace(sent, token="other"))


def test_a_worker_with_a_state_directory_of_its_own_brings_its_copy_up_to_date(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled: list[str] = []
    monkeypatch.setattr(mirror, "shared_state", lambda: "both")
    monkeypatch.setattr(mirror, "pull", lambda: pulled.append("pulled"))
    apart = replace(sent, token="other", shared="both")
    assert run_sent(pickle.dumps(apart)) == "ran fit"
    assert pulled == ["pulled"]
    assert "shares another state" in refused(replace(apart, shared="another"))
    assert run_sent(pickle.dumps(replace(sent, shared="both"))) == "ran fit"
    assert pulled == ["pulled"], "on one disk there is nothing to bring"


def test_what_cannot_be_unpacked_is_refused() -> None:
    with pytest.raises(WorkerError, match="cannot read what it is sent"):
        run_sent(b"no pickle")


@pytest.mark.parametrize(
    "wrong", [{"nothing": {"GPU": 1}}, {"tree": {"GPU": 0}}, {"tree": 1}, ["tree"]]
)
def test_resources_are_checked_and_are_no_edit_of_the_code(wrong: Any) -> None:
    toy = load_spec(str(TOY))
    assert replace(toy, resources={"tree": {"GPU": 1}}).resources["tree"] == {"GPU": 1}
    with pytest.raises(SpecError, match="resources: found"):
        replace(toy, resources=wrong)
