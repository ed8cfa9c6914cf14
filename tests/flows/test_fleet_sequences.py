"""What must always be so of a fleet and of each partition holds in random sequences, and in those
that once broke it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.registry import client, holds
from tasks.spec import Revert
from tests.fleet_sequences import FleetNights, open_changes, with_predecessor
from tests.nights import MLFLOW_WARNINGS
from tests.sequences import run_sequences

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
]
YORK = "shops._new__20_york"


@pytest.fixture
def fleet(empty_registry: Path) -> Iterator[FleetNights]:
    """A fleet after two nights, on a state directory and a registry of its own."""

    class Walked(FleetNights):
        """Whose steps a test names."""

    Walked.empty_registry, Walked.machines = empty_registry, ("home",)
    Walked.settings_of, Walked.finished = staticmethod(lambda _: {}), staticmethod(lambda _: None)
    Walked.counted, Walked.sequences = Counter(), Counter()
    walked = Walked()
    walked.first_nights("good", "good")
    yield walked
    walked.teardown()


def check(fleet: FleetNights) -> None:
    """All that must be so after a step."""
    for invariant in (
        fleet.at_most_one_waits,
        fleet.the_champion_answers,
        fleet.what_was_taken_back_is_not_champion,
        fleet.nothing_is_left_open,
        fleet.the_app_reads_the_champion,
    ):
        invariant()


@pytest.mark.long
def test_random_sequences_of_a_fleet_keep_what_must_hold(empty_registry: Path) -> None:
    run_sequences(empty_registry, 1, steps=3, nights=FleetNights)


@pytest.mark.long
def test_a_partition_of_a_cut_off_night_is_ended_also_where_nothing_is_judged(
    fleet: FleetNights,
) -> None:
    """By a night without data, and by one on which the partition has vanished.

    Rolled back then, its recipe is held from the newest night of the fleet on.
    """
    fleet.killed_night(23)
    assert list(open_changes()) == [YORK]
    fleet.night_without_data()
    check(fleet)
    fleet.killed_night(23)
    assert list(open_changes()) == [YORK]
    del fleet.shops["New York"]
    fleet.night(9)
    check(fleet)
    fleet.roll_back(with_predecessor().index(YORK))
    check(fleet)  # the page of the partitions too
    (held,) = holds.read_holds(client.open_registry(), YORK)
    assert held.until == fleet.on(fleet.day) + Revert().hold
