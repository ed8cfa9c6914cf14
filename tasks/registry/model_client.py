"""MLflow's client for models alone."""

from __future__ import annotations

from mlflow import MlflowClient


class ModelClient(MlflowClient):
    """MLflow's client, which does not ask before each write whether the name is that of a prompt.

    That reads the whole registered model. ``packages.register_version`` asks it once.
    """

    def _raise_if_prompt(self, name: str) -> None:
        """What MLflow's client asks."""
