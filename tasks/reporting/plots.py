"""Plots of a night as PNG bytes: small, readable at a glance, safe for colour-blind readers.

Every function is pure and builds its own figure; matplotlib is imported when one is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from tasks.evaluation.estimates import Estimate
from tasks.metrics.base import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.evaluation.estimates import SliceResult
    from tasks.monitoring.drift import Shift


BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676"
"""Okabe and Ito's colours, distinguishable with any colour vision, and a neutral grey."""
ROLES = {"challenger": (BLUE, "o"), "champion": (ORANGE, "s"), "baseline": (GREY, "^")}
OTHERS = ((GREEN, "D"), (PURPLE, "v"), ("#56B4E9", "P"), ("#E69F00", "X"))
MOST_ROWS = 20


def metric_by_day(metric: str, by_day: Mapping[str, Mapping[str, float]]) -> bytes:
    """One line per scorer over the holdout days.

    Args:
        metric: Name of the metric.
        by_day: Scorer to ISO day to value, as ``evaluate_days`` gives it; NaN leaves a gap.
    """
    figure, axes = new_figure(7.2, 3.2)
    for (name, values), (colour, marker) in zip(by_day.items(), styles(by_day), strict=True):
        days = [date.fromisoformat(day) for day in values]
        axes.plot(
            days,  # type: ignore[arg-type]
            list(values.values()),
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.6,
            linestyle="--" if name == "baseline" else "-",
            label=name,
        )
    date_axis(axes)
    axes.set_ylabel(title(metric))
    axes.set_title(f"{capitalized(title(metric))} on each holdout day")
    legend_outside(axes)
    return to_png(figure)


def nights(metric: str, estimates: Mapping[str, Estimate], promoted: Sequence[str]) -> bytes:
    """The challenger's metric night after night with its interval, promotions filled.

    Args:
        metric: Name of the metric.
        estimates: ISO as-of date to estimate, ascending.
        promoted: The dates on which the challenger became champion.
    """
    figure, axes = new_figure(7.2, 3.2)
    days = [date.fromisoformat(day) for day in estimates]
    values = list(estimates.values())
    axes.fill_between(
        days,  # type: ignore[arg-type]
        [each.low for each in values],
        [each.high for each in values],
        color=BLUE,
        alpha=0.15,
        linewidth=0,
        label="interval",
    )
    axes.plot(days, [each.value for each in values], color=BLUE, linewidth=1.4)  # type: ignore[arg-type]
    for label, face, wanted in (("promoted", BLUE, True), ("kept out", "white", False)):
        chosen = [(day, each) for day, each in estimates.items() if (day in promoted) == wanted]
        axes.plot(
            [date.fromisoformat(day) for day, _ in chosen],  # type: ignore[arg-type]
            [each.value for _, each in chosen],
            color=BLUE,
            marker="o",
            markersize=5,
            markerfacecolor=face,
            linestyle="none",
            label=label,
        )
    date_axis(axes)
    axes.set_ylabel(title(metric))
    axes.set_title(f"{capitalized(title(metric))} of the challenger, night after night")
    legend_outside(axes)
    return to_png(figure)


def candidates(metric: str, estimates: Mapping[str, Estimate], chosen: str | None = None) -> bytes:
    """The metric of every scorer with its interval, in the given order from the top.

    Args:
        metric: Name of the metric.
        estimates: Scorer to estimate.
        chosen: Scorer to emphasise, tonight's challenger.
    """
    names = list(estimates)
    figure, axes = new_figure(7.2, 1.1 + 0.38 * len(names))
    for row, name in enumerate(names):
        colour = BLUE if name == chosen else GREY
        _whisker(axes, row, estimates[name], colour)
        axes.annotate(
            f"{estimates[name].value:.3f}",
            (estimates[name].value, row),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
    _rows(axes, names)
    axes.set_xlabel(f"{title(metric)}, with interval")
    axes.set_title(f"Candidates by {title(metric)}")
    return to_png(figure)


def slices(results: Sequence[SliceResult], tolerance: float | None = None) -> bytes:
    """Relative difference of the challenger in each compared group, the worst at the top.

    Args:
        results: Groups; those too small to compare are not drawn, and of more than 20 groups the
            20 worst are.
        tolerance: The gate's bound, drawn as a line.
    """
    compared = [(s, s.relative) for s in results if s.relative is not None and s.relative.finite()]
    compared.sort(key=lambda pair: pair[1].value)
    shown = compared[:MOST_ROWS]
    figure, axes = new_figure(7.2, 1.2 + 0.27 * max(len(shown), 2))
    for row, (_, relative) in enumerate(shown):
        colour = ORANGE if relative.high < 0 else BLUE if relative.low > 0 else GREY
        scaled = Estimate(100 * relative.value, 100 * relative.low, 100 * relative.high)
        _whisker(axes, row, scaled, colour)
    axes.axvline(0, color="black", linewidth=0.8)
    if tolerance is not None:
        axes.axvline(-100 * tolerance, color=ORANGE, linewidth=1, linestyle="--")
    _rows(axes, [f"{s.column} = {s.group}  ({s.units:,})" for s, _ in shown])
    bound = "" if tolerance is None else "; dashed: the bound"
    axes.set_xlabel(f"challenger against champion, % (right is better{bound})")
    more = f", {len(shown)} worst of {len(compared)}" if len(compared) > len(shown) else ""
    axes.set_title(f"Slices{more}" if shown else "Slices: no group is large enough to compare")
    return to_png(figure)


def comparisons(groups: Mapping[str, Mapping[str, Estimate]]) -> bytes:
    """Relative differences with intervals, a panel for each group.

    Args:
        groups: Title of a panel to row to relative difference, positive is better; the row that
            the others are compared with is at 0.
    """
    from matplotlib.figure import Figure

    heights = [len(rows) + 1.6 for rows in groups.values()]
    figure = Figure(figsize=(7.2, 0.32 * sum(heights)), dpi=100, layout="constrained")
    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        _plain(axes)
        for row, relative in enumerate(rows.values()):
            colour = ORANGE if relative.high < 0 else BLUE if relative.low > 0 else GREY
            scaled = Estimate(100 * relative.value, 100 * relative.low, 100 * relative.high)
            _whisker(axes, row, scaled, colour)
        axes.axvline(0, color="black", linewidth=0.8)
        _rows(axes, list(rows))
        axes.set_title(name)
    panels[-1].set_xlabel("relative difference, % (right is better)")
    return to_png(figure)


def feature_importance(names: Sequence[str], values: Sequence[float], of: int = 0) -> bytes:
    """The 20 largest importances by size, largest at the top; negative ones point left.

    Args:
        names: Inputs that were looked at.
        values: Their importances.
        of: How many inputs there are, where not all were looked at.
    """
    order = sorted(range(len(names)), key=lambda i: -abs(values[i]))[:MOST_ROWS]
    figure, axes = new_figure(7.2, 1.0 + 0.27 * max(len(order), 2))
    sizes = [values[i] for i in order]
    axes.barh(
        range(len(order)), sizes, height=0.65, color=[BLUE if v >= 0 else ORANGE for v in sizes]
    )
    axes.axvline(0, color="black", linewidth=0.8)
    _rows(axes, [names[i] for i in order])
    axes.set_xlabel(
        "mean change of the predictions when it is shuffled, in their standard deviations"
    )
    more = f", {len(order)} largest of {max(of, len(names)):,}" if len(names) > len(order) else ""
    looked = f" ({len(names)} looked at one by one)" if of > len(names) else ""
    axes.set_title(f"Permutation importance{more}{looked}")
    return to_png(figure)


def drift(shifts: Sequence[Shift], large: float) -> bytes:
    """The columns that drifted most in the newest week, with the drift of earlier weeks.

    Args:
        shifts: The largest first.
        large: Index from which a shift counts as large.
    """
    shown = shifts[:15]
    figure, axes = new_figure(7.6, 1.2 + 0.3 * len(shown))
    colours = [ORANGE if shift.alarming else BLUE for shift in shown]
    axes.barh(range(len(shown)), [shift.psi for shift in shown], height=0.6, color=colours)
    usual = [shift.usual for shift in shown]
    axes.plot(usual, range(len(shown)), "k|", markersize=11, label="earlier weeks, at most")
    axes.axvline(large, color="black", linewidth=0.8, linestyle=":", label="large")
    _rows(axes, [shift.column for shift in shown])
    axes.set_xlabel("population stability index against earlier weeks; 0 means no difference")
    more = f", {len(shown)} largest of {len(shifts)}" if len(shifts) > len(shown) else ""
    axes.set_title(f"Drift of the newest week{more}")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return to_png(figure)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, length=3)


def styles(names: Mapping[str, object]) -> list[tuple[str, str]]:
    """Colour and marker of each scorer, the same in every plot."""
    others = [name for name in names if name not in ROLES]
    return [
        ROLES[name] if name in ROLES else OTHERS[others.index(name) % len(OTHERS)] for name in names
    ]


def _whisker(axes: Axes, row: int, estimate: Estimate, colour: str) -> None:
    axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2)
    axes.plot([estimate.value], [row], color=colour, marker="o", markersize=6)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    shown = [name if len(name) <= 34 else f"{name[:33]}…" for name in names]
    axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def date_axis(axes: Axes) -> None:
    """Show a few dates in short form."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def legend_outside(axes: Axes) -> None:
    """Put the legend beside the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def to_png(figure: Figure) -> bytes:
    """The figure as a small PNG."""
    for axes in figure.axes:
        axes.title.set_fontsize(11)
        axes.title.set_fontweight("bold")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    small = io.BytesIO()
    flat = drawn.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    flat.save(small, format="png", optimize=True)
    return small.getvalue()
