"""Names and specs of the partitions of a fleet."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tasks.errors import SpecError
from tasks.reporting.decisions import full_name
from tasks.spec import Gate, Tuned
from tasks.spec.fingerprint import code_paths, digest
from tasks.spec.fleet import PATTERN, fleet_of, model_name, spec_of, value_of
from tasks.spec.loading import file_of, load_spec
from tests.fleets import write_fleet
from tests.samples import samples
from tests.toy import toy

FLEET = replace(toy, partition="shop")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("north", "toy.north"),
        ("JFK", "toy._j_f_k"),
        ("New York", "toy._new__20_york"),
        ("a_b-c.d", "toy.a__5fb__2dc__2ed"),
        ("ü", "toy.__c3__bc"),
    ],
)
def test_the_name_of_a_partition(value: str, name: str) -> None:
    assert model_name("toy", value) == name
    assert (fleet_of(name), value_of(name)) == ("toy", value)


@settings(max_examples=samples(50))
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=15))
def test_every_value_has_a_name_of_its_own(value: str) -> None:
    name = model_name("a-fleet_1", value)
    assert value_of(name) == value
    assert re.fullmatch(PATTERN, name)


def test_the_model_of_a_file_is_no_partition() -> None:
    assert (fleet_of("toy"), value_of("toy")) == ("toy", None)


@pytest.mark.parametrize("value", ["", "é" * 60])
def test_a_value_without_a_name_is_refused(value: str) -> None:
    with pytest.raises(SpecError, match="Shorten it in clean"):
        model_name("toy", value)


def test_the_spec_of_a_partition_has_the_code_of_its_fleet() -> None:
    north = spec_of(FLEET, "north")
    assert (north.name, north.value, north.whole) == ("toy.north", "north", FLEET)
    assert spec_of(FLEET, "north") is north
    assert (digest(north), code_paths(north)) == (digest(FLEET), code_paths(FLEET))


def test_one_model_has_no_partitions() -> None:
    with pytest.raises(SpecError, match="names no column in partition"):
        spec_of(toy, "north")


def test_a_partition_is_found_by_its_address(tmp_path: Path) -> None:
    file = write_fleet(tmp_path / "shops.py", tmp_path)
    found = load_spec(f"{file}@New York")
    assert (found.name, found.whole) == ("shops._new__20_york", load_spec(str(file)))
    assert full_name(f"{file}@a.py@b") == f"{file}@a.py@b"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"partition": "bought"}, "partition: found 'bought', allowed None or a column of"),
        ({"fit_limit": timedelta(minutes=1)}, "None where there is a fit_limit"),
        ({"explain": True}, "None where predictions are explained"),
        ({"gate": Gate(shadow=timedelta(days=5))}, "None where the gate has shadow nights"),
        (
            {"candidates": {"c": Tuned(LogisticRegression(), {"C": [0.1, 1.0]}, budget=5)}},
            "None where hyperparameters are searched",
        ),
    ],
)
def test_what_does_not_go_with_partitions_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=re.escape(told)):
        replace(FLEET, **changes)


def test_a_partition_may_end_like_a_file() -> None:
    assert file_of("a/shops.py@x.py") == (Path("a/shops.py"), "@x.py")
    assert file_of("v1.py/shops.py") == (Path("v1.py/shops.py"), "")
    assert file_of("shops@x.py") == file_of("tests.toy:toy") == (None, "")
