"""Checks of a packaged model before an alias points at it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.clean_process.run import CleanProcessError, run_by_itself
from tasks.promotion.checks import Check
from tasks.spec.gate import Gate
from tasks.store.files import disk_fault
from tasks.store.trusted_types import untrusted_types

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.registry.packages import Seal


SMOKE_TEST = Path(__file__).with_name("smoke_test.py")
ROUNDING = 1e-6
"""How far, as a share, a processor of another kind may be from the predictions that were noted: its
sums run in another order, and single precision holds seven digits."""


@dataclass(frozen=True)
class Shipped:
    """A package, and what it must answer.

    Attributes:
        folder: The model as MLflow packages it, downloaded as the app will do it.
        probe: A few rows of inputs, in the types of the signature.
        expected: What the trained estimator predicts for them, shape (rows,) or (rows, classes).
    """

    folder: Path
    probe: pd.DataFrame
    expected: np.ndarray


def files_digest(folder: Path) -> str:
    """One SHA-256 over the names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _digest((file.relative_to(folder).as_posix(), file.read_bytes()) for file in files)


def content_digest(contents: Mapping[str, bytes]) -> str:
    """The same of files that were read: name below the folder to content."""
    return _digest(sorted(contents.items(), key=lambda named: PurePosixPath(named[0])))


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    found = hashlib.sha256()
    for name, content in files:
        found.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
    return found.hexdigest()


def check_package(
    folder: Path,
    probe: pd.DataFrame,
    expected: np.ndarray,
    *,
    trusted: Sequence[str],
    gate: Gate,
    sha256: str | None = None,
) -> tuple[Check, ...]:
    """Load a downloaded model in a clean process, and compare it with the trained one.

    Args:
        folder: See ``Shipped``.
        probe: See ``Shipped``.
        expected: See ``Shipped``.
        trusted: Types the stored model may hold.
        gate: Bounds of latency and size.
        sha256: Digest of its files when it was checked before, if it was: see ``check_again``.
    """
    shipped = Shipped(folder, probe, expected)
    return check_packages([shipped], trusted=trusted, gate=gate, sha256=sha256)[0]


def check_again(folder: Path, seal: Seal) -> tuple[Check, ...]:
    """Compare a package with the record of its checks, whatever latency and size a gate allows.

    The files must be those that were checked. The predictions need only be equal but for rounding,
    since another machine may have made the record.

    Args:
        folder: The package, downloaded or unpacked.
        seal: The record of its checks.
    """
    return check_package(
        folder,
        seal.probe,
        seal.predictions,
        trusted=seal.trusted,
        gate=Gate(latency_ms=3_600_000, size_mb=100_000),
        sha256=seal.sha256,
    )


def check_packages(
    shipped: Sequence[Shipped],
    *,
    trusted: Sequence[str],
    gate: Gate,
    sha256: str | None = None,
) -> list[tuple[Check, ...]]:
    """Load packages of one model in one clean process, and compare them with the trained ones.

    Nothing in a folder runs before its digest and its format are verified; the first failed check
    ends the checks of a package.
    """
    looked = [_look_at_files(each.folder, trusted, gate, sha256) for each in shipped]
    whole = [e for e, checks in zip(shipped, looked, strict=True) if checks[-1].passed]
    asked = iter(_ask_clean_process(whole) if whole else ())
    done = []
    for each, checks in zip(shipped, looked, strict=True):
        found = next(asked) if checks[-1].passed else {}
        if "fault" in found:
            told = f"The package does not load and predict on its own: {found['fault']}."
            checks = (*checks, Check("loads in a clean process", False, told))
        elif found:
            checks = (*checks, *_answers(found, each.expected, gate, again=sha256 is not None))
        done.append(checks)
    return done


def _look_at_files(
    folder: Path, trusted: Sequence[str], gate: Gate, sha256: str | None
) -> tuple[Check, ...]:
    checks = [_unaltered(folder, sha256)]
    if checks[-1].passed:
        checks.append(_format(folder, trusted))
    if checks[-1].passed:
        checks.append(_size(folder, gate.size_mb))
    return tuple(checks)


def _unaltered(folder: Path, sha256: str | None) -> Check:
    if sha256 is None:
        return Check("unaltered files", True, "The files are checked for the first time.")
    same = files_digest(folder) == sha256
    detail = (
        "The files are unaltered since they were checked."
        if same
        else ("A file of the package was altered since it was checked.")
    )
    return Check("unaltered files", same, detail)


def _size(folder: Path, bound: float) -> Check:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    told = f"{size:.1f} MB, bound {bound:g} MB." + _advice("size_mb") * (size > bound)
    return Check("size", size <= bound, told)


def _advice(setting: str) -> str:
    return f" Make the model smaller, or raise {setting} in the spec's gate."


def _format(folder: Path, trusted: Sequence[str]) -> Check:
    """Check the package's format; its own metadata could ask for pickle or for more types."""
    import yaml

    name = "format"
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        described = yaml.load((folder / "MLmodel").read_text(encoding="utf-8"), loader)
        flavor, loaded = described["flavors"]["sklearn"], described["flavors"]["python_function"]
        stored = folder / str(flavor["pickled_model"])
        asked = set(flavor.get("skops_trusted_types") or [])
        is_skops = flavor["serialization_format"] == "skops" and loaded["loader_module"] == (
            "mlflow.sklearn"
        )
        if not is_skops or set(described["flavors"]) != {"sklearn", "python_function"}:
            return Check(name, False, "The package's MLmodel file names a loader other than skops.")
        if loaded["model_path"] != flavor["pickled_model"] or stored.parent != folder:
            return Check(
                name, False, "The package's MLmodel file points to a file other than its model."
            )
        if not described.get("signature"):
            return Check(name, False, "The package's MLmodel file has no signature.")
        held = untrusted_types(stored.read_bytes(), trusted)
        unknown = sorted({*asked.difference(trusted), *held})
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        if failed := disk_fault("The package cannot be checked", error):
            raise failed from error
        return Check(name, False, f"Incomplete package: {type(error).__name__}: {error}.")
    except Exception as error:  # skops raises whatever a model's file makes it do
        return Check(
            name, False, f"The package's model cannot be read: {type(error).__name__}: {error}."
        )
    if unknown:
        return Check(
            name, False, f"The model holds types that are not trusted: {', '.join(unknown)}."
        )
    return Check(
        name, True, "The model is stored by skops, with trusted types only and a signature."
    )


def _ask_clean_process(shipped: Sequence[Shipped]) -> list[dict[str, Any]]:
    """The results of ``smoke_test.py``, each with ``fault`` where there is none."""
    with tempfile.TemporaryDirectory() as place:
        named: list[str | Path] = []
        for number, each in enumerate(shipped):
            file = Path(place) / f"probe-{number}.parquet"
            each.probe.to_parquet(file, index=False)
            named += [each.folder, file]
        try:
            found: list[dict[str, Any]] = json.loads(run_by_itself(SMOKE_TEST, *named))
        except CleanProcessError as error:
            return [{"fault": str(error)}] * len(shipped)
    for one in found:
        if failed := disk_fault("The package cannot be checked", str(one.get("fault", ""))):
            raise failed
    return found


def _answers(
    found: dict[str, Any], expected: np.ndarray, gate: Gate, *, again: bool
) -> tuple[Check, ...]:
    import numpy as np

    wanted = np.asarray(expected, dtype=np.float64).reshape(len(expected), -1)
    got = np.asarray(found["predictions"])
    worst = np.abs(got - wanted).max() if got.shape == wanted.shape and got.size else np.inf
    same = got.shape == wanted.shape and bool((got == wanted).all())
    near = again and bool(worst <= ROUNDING * np.abs(wanted).max(initial=0))
    latency, bound = found["latency_ms"], gate.latency_ms
    return (
        Check(
            "loads in a clean process",
            same or near,
            f"{len(wanted)} rows get bit for bit the same predictions as from the trained model."
            if same
            else f"{len(wanted)} rows get the same predictions as on the machine that checked it, "
            f"but for rounding: up to {worst:g}."
            if near
            else "The package predicts differently from the trained model: predictions differ by "
            f"up to {worst:g}.",
        ),
        Check(
            "signature",
            found["enforces_signature"],
            "Rows with a missing column are refused."
            if found["enforces_signature"]
            else "Rows with a missing column are accepted, but the signature should refuse them.",
        ),
        Check(
            "latency",
            latency <= bound,
            f"{latency:.0f} ms for 1,000 rows, bound {bound:g} ms."
            + _advice("latency_ms") * (latency > bound),
        ),
    )
