"""Libraries are imported without what they import for nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tasks.spec.lean_imports import as_if_missing, import_contracts


def test_a_library_counts_as_missing_only_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hidden_library", "loaded_library"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    loaded = importlib.import_module("loaded_library")
    with as_if_missing("hidden_library", "loaded_library"):
        with pytest.raises(ImportError):
            importlib.import_module("hidden_library")
        assert importlib.import_module("loaded_library") is loaded
    importlib.import_module("hidden_library")
    for name in ("hidden_library", "loaded_library"):
        del sys.modules[name]


@pytest.mark.parametrize("loaded", [False, True])
def test_a_contract_imports_no_frames_of_dask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "__init__.py").touch()
    (tmp_path / "dask" / "dataframe.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    typing = importlib.import_module("pandera.typing")
    monkeypatch.setattr(typing, "dask", None, raising=False)
    for name in [*sys.modules]:
        if name == "pandera.typing.dask" or name.partition(".")[0] == "dask":
            monkeypatch.delitem(sys.modules, name)
    if loaded:  # as in a worker
        importlib.import_module("dask")
    import_contracts()
    assert not sys.modules["pandera.typing.dask"].DASK_INSTALLED
    assert "dask.dataframe" not in sys.modules
    for name in ("pandera.typing.dask", "dask"):
        sys.modules.pop(name, None)  # before those of other tests are put back
