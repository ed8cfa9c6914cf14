"""The gate: a pure function of a few numbers; a missing number fails its check."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks.errors import JudgementError
from tasks.metrics.base import title
from tasks.promotion.checks import Check, Status, Verdict

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Difference, Estimate, Evaluation, SliceResult
    from tasks.promotion.contests import Proof
    from tasks.registry.versions import Champion
    from tasks.spec.gate import Gate


CALIBRATION = "calibration_error"
TRIVIAL = "trivial baseline"
"""Scorer of the problem's own baseline, where the spec names another."""


def rank_challengers(
    evaluation: Evaluation,
    candidates: Sequence[str],
    incumbent: str | None,
    gate: Gate,
    proven: Collection[str] = (),
) -> list[str]:
    """Tonight's candidates in the order in which they are compared with the champion.

    Those that have proven better than the champion's recipe over the nights, and are better than
    its refit by a share of at least ``gate.gain`` tonight, come first, the best primary metric
    before the others. The refit itself comes last, and no other is judged. Without an incumbent
    among the usable candidates all are. Equal candidates: the first declared.

    Args:
        evaluation: All candidates on the same rows.
        candidates: Their names in the spec's order.
        incumbent: Candidate with the champion's recipe, None on the first night.
        gate: Bounds of the spec.
        proven: Recipes that have proven better (``tasks.promotion.contests``).

    Raises:
        JudgementError: No candidate has finite metrics.
    """
    usable = [
        name
        for name in candidates
        if name in evaluation.metrics and evaluation.primary(name).finite()
    ]
    if not usable:
        why = "; ".join(f"{name}: {reason}" for name, reason in evaluation.unusable.items())
        raise JudgementError(f"no candidate can be compared ({why or 'none was evaluated'})")
    sign = 1 if evaluation.greater_is_better else -1
    ranked = sorted(usable, key=lambda name: -sign * evaluation.primary(name).value)
    if incumbent not in usable:
        return ranked
    better = [
        name
        for name in ranked
        if name != incumbent
        and name in proven
        and _is_gain(evaluation.difference(name, incumbent), gate)
    ]
    return [*better, incumbent]


def too_large(sizes: Mapping[str, float], gate: Gate) -> dict[str, str]:
    """Candidates that cannot fit into a package, with the reason; the package is checked later.

    Args:
        sizes: Candidate to the megabytes of its stored model.
        gate: Bounds of the spec.
    """
    return {
        name: f"The model alone has {size:.1f} MB, bound {gate.size_mb:g} MB."
        for name, size in sizes.items()
        if size > gate.size_mb
    }


def judge_in_order(
    ranked: Sequence[str],
    judge_one: Callable[[str], Verdict],
    refused: Mapping[str, str] | None = None,
) -> tuple[str, Verdict]:
    """The first candidate that passes, so that one that never can keeps no other out.

    Args:
        ranked: Candidates, the one to be judged first first.
        judge_one: The verdict on one of them.
        refused: Candidate to the reason why it must not be promoted, whatever its verdict.

    Returns:
        The challenger and its verdict, which ends with who was passed over and why. Where none
        passes it is the first that waits for a person, else the first of all, and the verdict ends
        with why the others do not pass either.
    """
    refused, tried = refused or {}, dict[str, Verdict]()

    def told(names: Sequence[str], words: str, known: Sequence[str]) -> list[str]:
        """Why each of these does not pass; what was said before is not said again."""
        said, lines, same = set(known), list[str](), list[str]()
        for name in names:
            failed = [check.detail for check in tried[name].checks if not check.passed]
            why = refused.get(name) or " ".join(each for each in failed if each not in said)
            said.update(failed)
            same += [] if why else [name]
            lines += [f"{name} is {words}: {why}"] if why else []
        be = "is" if len(same) == 1 else "are"
        also = f"{', '.join(same)} {be} {words}, for what was said before."
        return [*lines, also] if same else lines

    for name in ranked:
        found = judge_one(name)
        if found.status is Status.PROMOTED and name not in refused:
            over = told(list(tried), "passed over", ())
            return name, replace(found, reasons=(*found.reasons, *over))
        tried[name] = found
    waits = (n for n, v in tried.items() if v.status is Status.WAITING and n not in refused)
    first = next(waits, next(iter(tried)))
    others = [name for name in tried if name != first]
    either = told(others, "not promoted either", tried[first].reasons)
    return first, replace(tried[first], reasons=(*tried[first].reasons, *either))


def judge(
    found: Evaluation,
    *,
    challenger: str,
    champion: str | None,
    baseline: str,
    same_recipe: bool,
    gate: Gate,
    slices: Sequence[SliceResult] = (),
    checked: Sequence[Check] = (),
    proof: Proof | None = None,
    naive: Naive | None = None,
) -> Verdict:
    """Promote the challenger or keep the champion.

    Checks, all of which must hold; a number that is missing or not finite fails its check:

    * *finite metrics*: every metric of challenger, champion and baseline, and the gate itself;
    * *enough days*, *enough units*: at least ``gate.min_days`` and ``gate.min_units``;
    * *better than the baseline*: lower end of the paired difference above 0; the candidate that
      is the spec's baseline need only measure no worse than the trivial one;
    * *calibration*, where ``gate.calibration`` is set: the calibration error is at most that;
    * *slices*: a slice is materially worse where even the upper end of its paired relative
      difference lies below ``-gate.slice_tolerance``; groups too small to compare are counted
      in the detail and stop nothing;
    * then one of three: *first champion*, decided by the checks above; *same recipe*, lower end
      of the relative difference at least ``-gate.tolerance``; or *another recipe*, proven
      better over the nights, and a relative gain of at least ``gate.gain`` tonight;
    * *no surprise*: a relative gain above ``gate.surprise`` over the champion needs a person's
      review, except over a champion that is the spec's baseline;
    * the checks made before, such as for leaks.

    Args:
        found: Every scorer on the same rows.
        challenger: Scorer that may be promoted.
        champion: Scorer that is champion now, None on the first night.
        baseline: Scorer of the spec's baseline, or of the trivial one where it names none.
        same_recipe: Whether the challenger is the champion's recipe refitted.
        gate: Bounds of the spec.
        slices: Challenger against champion, group by group.
        checked: Checks made before.
        proof: What speaks for another recipe; without it none is promoted.
        naive: Where the spec names a baseline: its part in this comparison. Itself it is compared
            with the scorer ``TRIVIAL``.

    Returns:
        PROMOTED or KEPT.
    """
    baseline = TRIVIAL if naive and naive.itself else baseline
    checks = [_finite_check(found, [challenger, baseline, champion], gate)]
    if not checks[0].passed:
        return _kept(champion, tuple(checks))
    checks += [
        _count_check("enough days", found.days, gate.min_days, "holdout days"),
        _count_check("enough units", found.units, gate.min_units, found.unit),
        _baseline_check(found, challenger, baseline, naive),
        *checked,
    ]
    if gate.calibration is not None:
        checks.append(_calibration_check(found, challenger, gate.calibration))
    if champion is None:
        checks.append(Check("first champion", True, "There is no champion yet to compare with."))
    else:
        checks.append(_slice_check(slices, gate))
        difference = found.difference(challenger, champion)
        over_naive = naive is not None and naive.serves and not same_recipe
        checks.append(_surprise_check(difference, gate, over_naive))
        checks.append(
            not_worse(difference, gate, "same recipe", "Same recipe on fresher data")
            if same_recipe
            else _another_recipe_check(difference, gate, proof)
        )
    if not all(check.passed for check in checks):
        comparison = () if champion is None else (compared(found, challenger, champion, slices),)
        return _kept(champion, tuple(checks), comparison)
    leading: tuple[str, ...]
    if champion is None:
        whose = f"the {naive.compared if naive else 'baseline'}"
        leading = (
            f"First champion: {compared(found, challenger, baseline, (), whose)}",
            "Every check passed.",
        )
        if naive and naive.itself:
            leading = (no_model(challenger), *leading)
    else:
        leading = (compared(found, challenger, champion, slices), checks[-1].detail)
    return Verdict(Status.PROMOTED, leading, tuple(checks))


@dataclass(frozen=True)
class Naive:
    """The part of the spec's baseline in a comparison.

    Attributes:
        name: The candidate.
        itself: Whether it is the challenger.
        serves: Whether the champion was made by its recipe.
    """

    name: str
    itself: bool = False
    serves: bool = False

    @property
    def compared(self) -> str:
        """Words for the scorer that the challenger is compared with."""
        return "trivial baseline" if self.itself else f"baseline {self.name}"


def naive_part(spec_baseline: str | None, challenger: str, recipe: str | None) -> Naive | None:
    """The part of the spec's baseline in the comparison of a challenger; None where it has none.

    Args:
        spec_baseline: The candidate that the spec names, if any.
        challenger: The candidate that may be promoted.
        recipe: The candidate that the champion was made by, if any.
    """
    if spec_baseline is None:
        return None
    return Naive(spec_baseline, challenger == spec_baseline, recipe == spec_baseline)


def no_model(naive: str) -> str:
    """That the spec's baseline is the best there is, as a sentence."""
    return f"No model beats the baseline yet; {naive}, the baseline, serves."


def known_figures(found: Evaluation, challenger: str, retired: Champion | None) -> list[Check]:
    """A challenger that starts anew is held to what the champion given up was expected to do.

    Args:
        found: Every scorer on the same rows.
        challenger: Scorer that may be promoted.
        retired: The champion given up, if any; nothing is checked where its prediction interval
            is not known.
    """
    known = retired.promised if retired else None
    if retired is None or known is None:
        return []
    value, name = found.primary(challenger).value, title(found.metric)
    passed = value >= known["low"] if found.greater_is_better else value <= known["high"]
    detail = (
        f"{name[0].upper()}{name[1:]} {_number(value)}; version {retired.version}, which was "
        f"retired, was expected at {_number(known['value'])}, on a day between "
        f"{_number(known['low'])} and {_number(known['high'])}."
    )
    return [Check("no worse than what was retired", passed, detail)]


def for_person(verdict: Verdict, gate: Gate) -> Verdict:
    """The verdict where a person has the last word: WAITING instead of a promotion.

    That is so where the gate asks for it, and where every check that failed is one that a person
    may overrule. All else stays as it is.
    """
    failed = [check for check in verdict.checks if not check.passed]
    if verdict.status is Status.PROMOTED and gate.approve:
        told = ("It passed every check; the gate asks a person to approve it.",)
        return replace(verdict, status=Status.WAITING, reasons=(*told, *verdict.reasons))
    if failed and all(check.for_person for check in failed):
        return replace(verdict, status=Status.WAITING)
    return verdict


def confirm(verdict: Verdict, version: str, checks: Sequence[Check]) -> Verdict:
    """The verdict after the packaged version was checked; a version that fails is not promoted."""
    failed = tuple(
        f"Version {version} is not promoted: {check.name}. {check.detail}"
        for check in checks
        if not check.passed
    )
    status = Status.KEPT if failed else verdict.status
    return Verdict(status, (*failed, *verdict.reasons), (*verdict.checks, *checks))


def refuse(verdict: Verdict, *reasons: str) -> Verdict:
    """The champion stays, for these reasons first."""
    return Verdict(Status.KEPT, (*reasons, *verdict.reasons), verdict.checks)


def overtaken(verdict: Verdict, version: str, against: str | None, champion: str | None) -> Verdict:
    """The verdict where another run has changed the champion since it was judged against."""
    was, now = (f"version {each}" if each else "no version" for each in (against, champion))
    return refuse(
        verdict,
        f"Version {version} is not promoted: when it was judged, {was} was the champion, and now "
        f"{now} is, by another run on the same registry. Run the night again to judge it anew.",
    )


def _kept(
    champion: str | None, checks: tuple[Check, ...], comparison: tuple[str, ...] = ()
) -> Verdict:
    failed = tuple(check.detail for check in checks if not check.passed)
    nobody = ("There is no champion yet, and no version is promoted.",) if champion is None else ()
    return Verdict(Status.KEPT, (*failed, *comparison, *nobody), checks)


def _finite_check(found: Evaluation, scorers: Sequence[str | None], gate: Gate) -> Check:
    faults = list(gate.faults())
    present = []
    for scorer in scorers:
        if scorer is None:
            continue
        named = found.metrics.get(scorer, {})
        if found.metric not in named:
            faults.append(f"{scorer} has no metrics: {found.unusable.get(scorer, 'not evaluated')}")
        else:
            present.append(scorer)
        faults += [
            f"{title(metric)} of {scorer} is not finite"
            for metric, estimate in named.items()
            if not estimate.finite()
        ]
    for other in present[1:]:
        difference = found.differences.get(present[0], {}).get(other)
        if difference is None or not difference.absolute.finite():
            faults.append(f"the difference between {present[0]} and {other} is not finite")
        elif other == scorers[2] and not difference.relative.finite():
            faults.append(f"the relative difference to {other} is not finite")
    detail = (
        (f"No comparison is possible: {'; '.join(faults)}.")
        if faults
        else "Every metric is finite."
    )
    return Check("finite metrics", not faults, detail)


def _count_check(name: str, count: int, least: int, what: str) -> Check:
    passed = math.isfinite(count) and count >= least
    words = "at least" if passed else "too few, because the gate requires"
    return Check(name, passed, f"{count:,} {what}, {words} {least:,}.")


def _baseline_check(
    found: Evaluation, challenger: str, baseline: str, naive: Naive | None
) -> Check:
    gain = found.difference(challenger, baseline).absolute
    itself = naive is not None and naive.itself
    passed = gain.value >= 0 if itself else gain.low > 0
    whose = f"the {naive.compared if naive else 'trivial baseline'}'s"
    detail = f"{_figures(found, challenger, baseline, whose)}: {_better_by(gain, found.confidence)}"
    name = "no worse than the trivial baseline" if itself else "better than the baseline"
    return Check(
        name, passed, _sentence(detail, passed, "worse" if itself else "not clearly better")
    )


def _calibration_check(found: Evaluation, challenger: str, bound: float) -> Check:
    error = found.metrics[challenger].get(CALIBRATION)
    if error is None:
        return Check(
            "calibration",
            False,
            "The gate has a bound for the calibration error, but the calibration error was "
            "not measured.",
        )
    passed = error.value <= bound
    words = "within" if passed else "above"
    return Check(
        "calibration", passed, f"Calibration error {_number(error.value)}, {words} {bound:g}."
    )


def _slice_check(slices: Sequence[SliceResult], gate: Gate) -> Check:
    compared = [s for s in slices if s.relative is not None]
    broken = [s for s in compared if not (s.relative and s.relative.finite())]
    worse = _worse_slices(slices, gate.slice_tolerance)
    if broken:
        detail = f"Slice {_slice(broken[0])} cannot be compared: its difference is not finite."
    elif worse:
        shown = "; ".join(
            f"{_slice(s)}: {_share(s.relative.value)}, at best {_share(s.relative.high)},"
            f" {s.units:,} units"
            for s in worse[:3]
            if s.relative is not None
        )
        detail = (
            f"{len(worse)} of {len(compared)} slices are worse by more than "
            f"{gate.slice_tolerance:.0%} ({shown})."
        )
    elif not slices:
        detail = "The spec declares no slices."
    else:
        small = len(slices) - len(compared)
        detail = f"None of {len(compared)} slices is materially worse" + (
            f"; {small} too small to compare." if small else "."
        )
    return Check("slices", not broken and not worse, detail)


def _worse_slices(slices: Sequence[SliceResult], tolerance: float) -> list[SliceResult]:
    return sorted(
        (s for s in slices if s.relative is not None and not s.relative.high >= -tolerance),
        key=lambda s: s.relative.value if s.relative is not None else 0.0,
    )


def not_worse(difference: Difference, gate: Gate, name: str, leading: str) -> Check:
    """Whether the lower end of the relative difference is within ``gate.tolerance``.

    Args:
        difference: How much better the challenger is than the champion.
        gate: Bounds of the spec.
        name: Name of the check.
        leading: What is compared, the beginning of the sentence.
    """
    relative = difference.relative
    passed = relative.low >= -gate.tolerance
    bound = f"{gate.tolerance:.1%}"
    if passed:
        detail = f"{leading}: at worst {_share(relative.low)}; the bound is {bound} worse."
    elif relative.value >= -gate.tolerance:
        detail = (
            f"{leading}: measured {_share(relative.value)}, but uncertain: it "
            f"may be {_share(relative.low)}, and the bound is {bound} worse."
        )
    else:
        detail = f"{leading}, but {_share(relative.value)}: beyond the bound of {bound} worse."
    return Check(name, passed, detail)


def _surprise_check(difference: Difference, gate: Gate, over_naive: bool) -> Check:
    gain = difference.relative.value
    if over_naive:
        detail = "The champion is the baseline: a gain over it needs no person's review."
        return Check("no surprise", True, detail, for_person=True)
    passed = gain <= gate.surprise
    detail = (
        f"{_share(gain).capitalize()}; gains up to {gate.surprise:.0%} need no person's review."
        if passed
        else f"{_share(gain).capitalize()} overnight: a gain this large needs a person's review. "
        "Look for a leak; if the gain is real, approve the version, or set gate.surprise above "
        f"{gain:.2f} in the spec."
    )
    return Check("no surprise", passed, detail, for_person=True)


def _another_recipe_check(difference: Difference, gate: Gate, proof: Proof | None) -> Check:
    gain, proven = _is_gain(difference, gate), proof is not None and proof.passed
    told = (
        "it has not been compared on any day yet"
        if proof is None
        else f"over {proof.days} days, each counted once, the evidence is {proof.e_value:,.3g} and "
        f"{proof.needed:,.3g} is needed"
    )
    if gain and proven:
        detail = (
            f"Another recipe: {_share(difference.relative.value)}; at least {gate.gain:.1%} is "
            f"required. It is better day by day: {told}."
        )
    elif not gain:
        detail = (
            f"Another recipe must be at least {gate.gain:.1%} better; it is "
            f"{_share(difference.relative.value)}."
        )
    else:
        detail = (
            "Another recipe must be clearly better, day by day. Measured: "
            f"{_share(difference.relative.value)}. But {told}, so that at most "
            f"{1 - gate.recipe_confidence:.2g} of years promote a recipe that is no better."
        )
    return Check("another recipe", gain and proven, detail)


def _is_gain(difference: Difference, gate: Gate) -> bool:
    return (
        difference.absolute.finite()
        and difference.relative.finite()
        and difference.relative.value >= gate.gain
    )


def compared(
    found: Evaluation,
    challenger: str,
    other: str,
    slices: Sequence[SliceResult],
    whose: str = "the champion",
) -> str:
    """The figures of a challenger beside those of another scorer, with the interval, a sentence."""
    gain = found.difference(challenger, other).absolute
    text = (
        f"{_figures(found, challenger, other, whose + chr(39) + 's')}:"
        f" {_better_by(gain, found.confidence)} over {found.days} days,"
        f" {found.units:,} {found.unit}"
    )
    compared = [s for s in slices if s.relative is not None]
    if compared and all(s.relative is not None and s.relative.high >= 0 for s in compared):
        text += "; no slice clearly worse"
    return text + "."


def _figures(found: Evaluation, challenger: str, other: str, whose: str) -> str:
    mine, theirs = found.primary(challenger).value, found.primary(other).value
    name = title(found.metric)
    return f"{name[0].upper()}{name[1:]} {_number(mine)} against {whose} {_number(theirs)}"


def _better_by(gain: Estimate, confidence: float) -> str:
    """The words for a gain or a loss, with its interval."""
    worse = gain.value < 0
    low, high = (-gain.high, -gain.low) if worse else (gain.low, gain.high)
    word = "equal" if gain.value == 0 else f"{'worse' if worse else 'better'} by"
    size = "" if gain.value == 0 else f" {_number(abs(gain.value))}"
    return f"{word}{size} ({confidence * 100:g} % interval {_number(low)} to {_number(high)})"


def _sentence(text: str, passed: bool, otherwise: str) -> str:
    return f"{text}." if passed else f"{text}; {otherwise}."


def _slice(result: SliceResult) -> str:
    return f"{result.column} = {result.group}"


def _share(relative: float) -> str:
    if relative == 0:
        return "no different"
    return f"{abs(relative):.1%} {'better' if relative > 0 else 'worse'}"


def _number(value: float) -> str:
    """Three decimals; five for less than 0.001, none from 1,000 on."""
    size = abs(value)
    return f"{value:z,.{0 if size >= 1000 else 5 if 0 < size < 0.001 else 3}f}"
