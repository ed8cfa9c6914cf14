"""What a night does with a fitted candidate, tried beforehand: package, signature, new process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.clean_process.package_check import Shipped, check_packages
from tasks.preflight.result import Part
from tasks.registry import packages
from tasks.spec.fingerprint import libraries, packaged_code
from tasks.spec.model_code import told
from tasks.training.fit import trusted_types

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


ROWS = 50
"""Rows of each day that a package is asked for."""
TIMED = "latency"
"""Check that says nothing here: the trees of a trial are few."""


def rehearse(spec: ModelSpec, fitted: Mapping[str, Any], days: Sequence[pd.DataFrame]) -> Part:
    """Package each fitted candidate and ask it in a clean process, as before a promotion.

    Args:
        spec: The model.
        fitted: Candidate to its fitted estimator.
        days: Inputs of different days, such as the holdout's and those of tomorrow's requests.
    """
    import pandas as pd

    trusted, shipped = trusted_types(spec), {}
    with tempfile.TemporaryDirectory() as place:
        for name, estimator in fitted.items():
            some = [inputs.head(ROWS) for inputs in days if len(inputs)]
            folder = Path(place) / name
            try:
                packages.save_package(
                    folder,
                    estimator,
                    some[0],
                    code=packaged_code(spec),
                    trusted=trusted,
                    requirements=[f"{one}=={version_of(one)}" for one in libraries(spec)],
                )
                probe = pd.concat([packages.posted(estimator, each) for each in some])
                expected = packages.answer(estimator, pd.concat(some))  # at once, as a night asks
            except Exception as error:
                return Part(
                    "Package", faults=(told(spec, f"Candidate {name!r}: its package", error),)
                )
            shipped[name] = Shipped(folder, probe.reset_index(drop=True), expected)
        found = check_packages(list(shipped.values()), trusted=trusted, gate=spec.gate)
    faults = [
        f"Candidate {name!r} could never be promoted: {check.detail}"
        for name, checks in zip(shipped, found, strict=True)
        for check in checks
        if not check.passed and check.name != TIMED
    ]
    line = f"{len(shipped)} answer the same in a clean process, by the signature an app posts to"
    return Part("Package", () if faults else (line,), tuple(faults))
