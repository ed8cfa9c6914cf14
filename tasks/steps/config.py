"""The parameters of each flow, as Prefect's run form shows them."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from tasks.spec.fleet import PATTERN


class RetrainConfig(BaseModel):
    """Which model to retrain, and as of which day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="groceries",
        title="Model",
        description="A name under deployments/, a path/to/file.py, or package.module:NAME.",
        min_length=1,
        max_length=300,
    )
    as_of: date | None = Field(
        default=None,
        title="As-of date",
        description=(
            "Last day whose data may be used. Empty: the day before the scheduled time, or, run "
            "by hand, the newest complete day. A day before a night already decided is a "
            "backfill: it is reported and never changes the champion."
        ),
    )
    look: bool = Field(
        default=False,
        title="Look",
        description=(
            "Only take up a night that was held for want of fresh data, if they are there now. "
            "For retrain alone."
        ),
    )


class BacktestConfig(BaseModel):
    """Which model is replayed, and over how many nights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="groceries",
        title="Model",
        description="A name under deployments/, a path/to/file.py, or package.module:NAME.",
        min_length=1,
        max_length=300,
    )
    nights: int = Field(
        default=60, title="Nights", description="How many nights are replayed.", ge=8, le=730
    )
    every: int = Field(
        default=1, title="Every", description="Days of the source between two nights.", ge=1, le=30
    )
    as_of: date | None = Field(
        default=None,
        title="As-of date",
        description="Last day whose data may be used. Empty: the newest complete day.",
    )


class RegisteredModel(BaseModel):
    """Which model of the registry is meant; its code is not needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="groceries",
        title="Model",
        description="Name of the model in the registry.",
        pattern=f"^{PATTERN}$",
    )


class ApproveConfig(RegisteredModel):
    """Which version that waits is approved or refused, by whom, and why."""

    by: str = Field(title="By", description="Who decides; recorded.", min_length=1, max_length=100)
    why: str = Field(
        title="Why", description="Recorded with the decision.", min_length=1, max_length=500
    )
    refuse: bool = Field(
        default=False,
        title="Refuse",
        description="Withdraw the version; its recipe and code are held, as after a rollback.",
    )
    version: int | None = Field(
        default=None,
        title="Version",
        description="The version that is meant. Empty: the one that waits.",
        ge=1,
    )


class RollbackConfig(RegisteredModel):
    """Which model is rolled back, to which version, and why."""

    to: int | None = Field(
        default=None,
        title="Version",
        description="The version to go back to. Empty: the champion before this one.",
        ge=1,
    )
    why: str = Field(
        default="no reason given",
        title="Why",
        description="Recorded on the version that is rolled back; shown when it is refused again.",
        min_length=1,
        max_length=500,
    )
    retire: bool = Field(
        default=False,
        title="Retire",
        description=(
            "Go back to nothing: leave the model without a champion, where it can no longer be "
            "asked. The next night starts anew."
        ),
    )
    release: bool = Field(
        default=False,
        title="Release",
        description=(
            "Roll nothing back; let nights promote again the recipes and code that were held when "
            "their versions were rolled back or reverted."
        ),
    )
