"""One spec for each partition of a fleet, and the names of their models.

The model of a partition is called ``<fleet>.<code>``. A code has lower-case letters, digits and
``_`` only: ``_x`` is the capital letter X, and ``__20`` the byte 20 (hexadecimal) of a value in
UTF-8. So every value has a code of its own, which ``value_of`` turns back.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from string import ascii_lowercase, ascii_uppercase, digits

from tasks.errors import SpecError
from tasks.spec.model_spec import ModelSpec

SEPARATOR = "."
LONGEST = 200
"""Longest name of a model: it is also the name of a folder."""
PATTERN = r"[a-z][a-z0-9_-]{0,62}(\.([a-z0-9]|_[a-z]|__[0-9a-f]{2})+)?"
"""A model of the registry: a model file's, or that of a partition."""


@dataclass(frozen=True, eq=False)
class PartitionSpec(ModelSpec):
    """The spec of one partition; made by ``spec_of``, and never written into a file.

    Attributes:
        fleet: The spec of the fleet.
        value: The partition's value, as text.
    """

    fleet: ModelSpec | None = None
    value: str = ""

    def __post_init__(self) -> None:
        """Nothing is checked again."""

    @property
    def whole(self) -> ModelSpec:
        """The spec of the fleet."""
        assert self.fleet is not None
        return self.fleet


def model_name(fleet: str, value: str) -> str:
    """Name of a partition's model.

    Args:
        fleet: Name of the fleet.
        value: The partition's value, as text.

    Raises:
        SpecError: Where the value is empty, or the name would be too long.
    """
    name = f"{fleet}{SEPARATOR}{''.join(map(_code, value))}"
    if not value or len(name) > LONGEST:
        raise SpecError(
            f"partition: found the value {value!r}, expected one whose name has at most {LONGEST} "
            "characters, and at least one. Shorten it in clean."
        )
    return name


def value_of(name: str) -> str | None:
    """The partition that a model of this name is of; None for the model of a file."""
    _, separator, code = name.partition(SEPARATOR)
    if not separator:
        return None
    parts = re.findall(r"__([0-9a-f]{2})|_([a-z])|([a-z0-9])", code)
    found = [
        bytes.fromhex(byte) or (capital.upper() + plain).encode() for byte, capital, plain in parts
    ]
    return b"".join(found).decode()


def fleet_of(name: str) -> str:
    """Name of the fleet that a model belongs to, or its own."""
    return name.partition(SEPARATOR)[0]


def partitions_in(champions: Mapping[str, str], fleet: str) -> dict[str, str]:
    """The champions of a fleet's partitions.

    Args:
        champions: Model to version.
        fleet: Name of the fleet.
    """
    begin = f"{fleet}{SEPARATOR}"
    return {name: version for name, version in champions.items() if name.startswith(begin)}


@functools.cache
def spec_of(fleet: ModelSpec, value: str) -> PartitionSpec:
    """The spec of one partition: that of the fleet under a name of its own.

    Raises:
        SpecError: Where the spec is no fleet's, or the value has no name.
    """
    if fleet.partition is None:
        raise SpecError(
            f"Model {fleet.name} has no partitions: its spec names no column in partition. Leave "
            "the partition out."
        )
    own = {field.name: getattr(fleet, field.name) for field in fields(ModelSpec)}
    name = model_name(fleet.name, value)
    return PartitionSpec(**own | {"name": name, "fleet": fleet, "value": value})


def _code(character: str) -> str:
    if character in ascii_lowercase or character in digits:
        return character
    if character in ascii_uppercase:
        return f"_{character.lower()}"
    return "".join(f"__{byte:02x}" for byte in character.encode())
