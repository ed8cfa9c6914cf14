"""The error that the models of a fleet share, and which partitions there have been.

Every promotion of another recipe, of any partition or of the common model, spends of one error,
``1 - gate.recipe_confidence`` (alpha spending): the models that begin on the n-th night on which
any do share 1 / (n * (n + 1)) of it alike, the common model with those of the first. The shares sum
to at most 1, whatever comes later, and a model's share never changes. So in at most that part of
years any model of the fleet is promoted to a recipe that is no better.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

from tasks.promotion.contests import share_of


@dataclass(frozen=True)
class Member:
    """One partition of a fleet.

    Attributes:
        since: The night it began.
        share: Its share of the error.
        gone: The night on which it had no row in the whole holdout for the first time, if it still
            has none.
    """

    since: date
    share: float
    gone: date | None = None


@dataclass(frozen=True)
class Ledger:
    """The partitions of a fleet.

    Attributes:
        begun: Nights on which any began.
        common: The common model's share of the error.
        members: Partition to what is known of it, also of one that is gone.
    """

    begun: int = 0
    common: float = 1.0
    members: Mapping[str, Member] = field(default_factory=dict)

    def of_tonight(self, what: str, as_of: date) -> tuple[str, ...]:
        """The partitions whose ``since`` or ``gone`` is this night."""
        return tuple(v for v, member in self.members.items() if getattr(member, what) == as_of)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        members = {
            value: asdict(member)
            | {"since": member.since.isoformat(), "gone": member.gone and member.gone.isoformat()}
            for value, member in self.members.items()
        }
        return {"begun": self.begun, "common": self.common, "members": members}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        """Inverse of ``to_json``."""
        members = {
            value: Member(
                date.fromisoformat(one["since"]),
                one["share"],
                one["gone"] and date.fromisoformat(one["gone"]),
            )
            for value, one in data["members"].items()
        }
        return cls(data["begun"], data["common"], members)


def enroll(before: Ledger, values: Collection[str], as_of: date) -> Ledger:
    """The ledger after the partitions of a night are found; the same night again changes nothing.

    Args:
        before: The ledger before it.
        values: The partitions that have rows now.
        as_of: The night.
    """
    new = sorted(set(values) - set(before.members))
    members = {
        value: replace(one, gone=None if value in values else one.gone or as_of)
        for value, one in before.members.items()
    }
    if not new:
        return replace(before, members=members)
    begun = before.begun + 1
    share = share_of(begun, len(new) + (begun == 1))
    members |= {value: Member(as_of, share) for value in new}
    return Ledger(begun, share if begun == 1 else before.common, members)
