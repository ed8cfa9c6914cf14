"""A package is believed only after it was looked at, and is loaded only in a process of its own."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.clean_process import package_check, run
from tasks.promotion.checks import Check
from tasks.spec import Gate
from tasks.store.files import DiskError
from tasks.store.trusted_types import TRUSTED_TYPES
from tests.nights import MLFLOW_WARNINGS

pytestmark = [pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS]
X = pd.DataFrame({"size": [0.1, 1.3, 2.7, 3.9], "age": [1.0, 0.0, 1.0, 0.0]})
MODEL = LogisticRegression().fit(X, [0, 0, 1, 1])
EXPECTED = MODEL.predict_proba(X)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as a night makes it."""
    import mlflow

    place = tmp_path_factory.mktemp("package") / "model"
    mlflow.sklearn.save_model(
        MODEL,
        str(place),
        signature=mlflow.models.infer_signature(X, EXPECTED),
        pip_requirements=["scikit-learn"],
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED_TYPES),
        pyfunc_predict_fn="predict_proba",
    )
    return place


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def look(
    package: Path,
    gate: Gate | None = None,
    expected: np.ndarray = EXPECTED,
    sha256: str | None = None,
) -> tuple[Check, ...]:
    return package_check.check_package(
        package,
        X,
        expected,
        trusted=TRUSTED_TYPES,
        gate=gate or Gate(latency_ms=60_000),
        sha256=sha256,
    )


def test_a_whole_package_passes_every_check(package: Path) -> None:
    found = look(package, sha256=package_check.files_digest(package))
    assert [one.name for one in found] == [
        "unaltered files",
        "format",
        "size",
        "loads in a clean process",
        "signature",
        "latency",
    ]
    assert all(one.passed for one in found), found
    assert "bit for bit" in found[3].detail


@pytest.mark.parametrize(("far", "passes"), [(1e-16, True), (1e-8, True), (1e-3, False)])
def test_another_processor_may_round_otherwise_when_it_is_checked_again(
    package: Path, far: float, passes: bool
) -> None:
    digest, noted = package_check.files_digest(package), EXPECTED + far
    (first,) = [one for one in look(package, expected=noted) if one.name.startswith("loads")]
    (again,) = [
        one for one in look(package, expected=noted, sha256=digest) if one.name.startswith("loads")
    ]
    assert (first.passed, again.passed) == (bool((noted == EXPECTED).all()), passes)
    assert ("but for rounding" in again.detail) == (passes and not first.passed)


def edit(old: str, new: str) -> Callable[[Path], None]:
    def harm(package: Path) -> None:
        file = package / "MLmodel"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return harm


def cut(package: Path) -> None:
    file = package / "model.skops"
    file.write_bytes(file.read_bytes()[:100])


def swap_for_foreign(package: Path) -> None:
    import skops.io

    skops.io.dump(Path("x"), package / "model.skops")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (edit("serialization_format: skops", "serialization_format: pickle"), "a loader other"),
        (edit("loader_module: mlflow.sklearn", "loader_module: os"), "a loader other than skops"),
        (edit("model_path: model.skops", "model_path: ../evil.skops"), "points to a file other"),
        (edit("sklearn.tree._tree.Tree", "posix.system"), "not trusted: posix.system"),
        (edit("signature:", "signed:"), "no signature"),
        (edit("flavors:", "flavours:"), "Incomplete package"),
        (cut, "cannot be read"),
        (swap_for_foreign, "types that are not trusted"),
        (lambda package: (package / "MLmodel").unlink(), "Incomplete package"),
    ],
)
def test_what_is_wrong_with_its_files_is_seen_before_anything_runs(
    harm: Callable[[Path], None], message: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_check, "_ask_clean_process", None)
    harm(package)
    found = look(package)
    assert not found[-1].passed
    assert found[-1].name == "format"
    assert message in found[-1].detail


def test_an_altered_file_and_a_large_one_are_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_check, "_ask_clean_process", None)
    before = package_check.files_digest(package)
    (package / "more.bin").write_bytes(bytes(20_000))
    (found,) = look(package, sha256=before)
    assert (found.name, found.passed) == ("unaltered files", False)
    size = look(package, Gate(size_mb=0.01))[-1]
    assert (size.name, size.passed) == ("size", False)
    assert "size_mb" in size.detail


@pytest.mark.usefixtures("warm_processes")
def test_a_disk_that_fails_decides_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(DiskError, match=r"cannot be checked: Input/output error"):
        package_check._format(package, ())


def test_how_a_clean_process_was_ended_is_said(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(run.CleanProcessError, match="ended by SIGKILL, as where memory runs out"):
        run.run_by_itself(script)


def test_a_clean_process_whose_disk_is_full_says_so(tmp_path: Path) -> None:
    """pyarrow writes from C++; the kernel refuses what makes a file too large."""
    script = tmp_path / "script.py"
    script.write_text(
        "import resource, pyarrow as pa\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
        "pa.OSFile('answers', 'wb').write(bytes(99999))\n"
    )
    with pytest.raises(DiskError, match=r"A clean process failed: File too large\. Run the night"):
        run.run_by_itself(script)


def test_other_answers_and_slow_ones_are_refused(package: Path) -> None:
    found = {one.name: one for one in look(package, Gate(latency_ms=1e-6), EXPECTED + 1e-9)}
    assert not found["loads in a clean process"].passed
    assert "predicts differently" in found["loads in a clean process"].detail
    assert found["signature"].passed
    assert not found["latency"].passed
    assert "latency_ms" in found["latency"].detail


@pytest.mark.usefixtures("warm_processes")
def test_a_model_that_needs_what_it_did_not_bring_is_refused(package: Path) -> None:
    (package / "MLmodel").write_text(
        (package / "MLmodel").read_text().replace("predict_fn: predict_proba", "predict_fn: nope")
    )
    found = look(package)[-1]
    assert (found.name, found.passed) == ("loads in a clean process", False)
    assert "does not load and predict on its own" in found.detail


@pytest.mark.usefixtures("warm_processes")
def test_a_model_that_hangs_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TIME_OUT", 0.05)
    assert "it did not end within its time limit of 0.05 s" in look(package)[-1].detail


def test_what_a_packaged_model_prints_is_no_answer(tmp_path: Path) -> None:
    X.to_parquet(tmp_path / "probe.parquet")
    loud = (
        "import atexit, os, runpy, sys, types\n"
        "class Model:\n"
        "    def predict(self, rows):\n"
        "        print('predicting'); os.write(1, b'in compiled code')\n"
        "        return [0.5] * len(rows)\n"
        "atexit.register(print, 'ended')\n"
        "fake = types.SimpleNamespace(MlflowException=ValueError)\n"
        "made = types.SimpleNamespace(load_model=lambda folder, **how: Model())\n"
        "sys.modules['skops'] = sys.modules['skops.io'] = types.ModuleType('skops')\n"
        "sys.modules['mlflow'] = types.SimpleNamespace(pyfunc=made, exceptions=fake)\n"
        f"sys.argv = ['x', 'folder', {str(tmp_path / 'probe.parquet')!r}]\n"
        f"runpy.run_path({str(package_check.SMOKE_TEST)!r}, run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", loud], capture_output=True, text=True, check=True)
    (found,) = json.loads(ended.stdout)
    assert found["predictions"] == [[0.5]] * 4
