"""Bad days and bad models: the right exit code, one clear message, an untouched champion."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests import nights
from tests.nights import champion_of, nth_day, one_message, run_command, write_model, write_more

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
LAST = 41
NEWEST = f"{nth_day(LAST)}.parquet"
AS_OF = nth_day(LAST)


@pytest.fixture(scope="session")
def promoted(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, prefect_server: None
) -> tuple[Path, Path]:
    """A state directory with a champion as of day 40, and the folder with one day more."""
    place = tmp_path_factory.mktemp("promoted")
    folder, home = place / "days", place / "home"
    home.mkdir()
    shutil.copyfile(empty_registry, home / "mlflow.db")
    write_more(folder, 1, LAST)
    model = write_model(place / "toy.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(home))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        assert nights.run_night(model, nth_day(LAST - 1))["verdict"] == "PROMOTED"
    return home, folder
