"""The model spec: import from here."""

from __future__ import annotations

from tasks.errors import SpecError
from tasks.spec.calendar import Calendar
from tasks.spec.gate import Gate, Revert
from tasks.spec.model_spec import ModelSpec
from tasks.spec.tuned import Tuned
from tasks.spec.values import EXPANDING, days

__all__ = ["EXPANDING", "Calendar", "Gate", "ModelSpec", "Revert", "SpecError", "Tuned", "days"]
