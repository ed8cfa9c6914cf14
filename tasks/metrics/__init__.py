"""Metrics, and what a custom metric is made of: import from here."""

from __future__ import annotations

from tasks.errors import JudgementError
from tasks.metrics.base import Floats, Ints, Metric, daily_mean

__all__ = ["Floats", "Ints", "JudgementError", "Metric", "daily_mean"]
