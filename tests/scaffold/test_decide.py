"""What the start says of the columns it found."""

from __future__ import annotations

from tasks.scaffold.decide import strong_input
from tests.scaffold.test_render_spec import plan_of


def test_of_a_strong_text_nobody_is_told_that_a_night_would_ask() -> None:
    names = ["aim", "at", "id", "number", "whole", "flag", "later", "text"]
    number = strong_input(plan_of(names, strong="number", strongest=0.91))
    assert number.startswith("number alone has an AUC of 0.91; above 0.80 a night asks a person.")
    assert number.endswith("name it in the gate: strong_features=('number',).")
    text = strong_input(plan_of(names, strong="text", strongest=0.91))
    assert text == (
        "text alone has an AUC of 0.91; a night tests numbers only, and not this text. Check that "
        "it is known before the day begins."
    )
