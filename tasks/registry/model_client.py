"""MLflow's client for models alone."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

OF_MODEL = re.compile(r"name = '([^']*)'(?: and tags\.night = '([^']*)')?")
"""Filters of versions that are answered from memory."""


class ModelClient(MlflowClient):
    """MLflow's client, which does not ask before each write whether the name is that of a prompt.

    That reads the whole registered model. ``packages.register_version`` asks it once.
    """

    def _raise_if_prompt(self, name: str) -> None:
        """What MLflow's client asks."""


class RememberingClient(ModelClient):
    """The same for who is alone in changing models: each is read once, and so are its versions.

    What it writes itself is known without a further read. After a write that failed, and where the
    truth must be seen, they are read anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self._models: dict[str, RegisteredModel | MlflowException] = {}
        self._versions: dict[str, dict[str, ModelVersion]] = {}
        self._experiments: dict[str, Experiment] = {}

    def read_ahead(self, names: Sequence[str]) -> None:
        """Read these models and their versions, all in two requests."""
        named = ", ".join(f"'{name}'" for name in names)
        wanted = f"name IN ({named})"
        models = super().search_registered_models(wanted, max_results=len(names))
        versions = super().search_model_versions(wanted)
        if versions.token:
            return
        for name in names:
            self._models[name] = MlflowException(f"No model {name}.", RESOURCE_DOES_NOT_EXIST)
            self._versions[name] = {}
        self._models |= {model.name: model for model in models}
        for version in versions:
            self._versions[version.name][str(version.version)] = version

    def forget_model(self, name: str) -> None:
        """Read the tags and aliases of a model anew when they are next asked for."""
        self._models.pop(name, None)

    def forget_versions(self, name: str) -> None:
        """Read the versions of a model anew when they are next asked for."""
        self._versions.pop(name, None)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """The model; that there is none is remembered too."""
        if name not in self._models:
            try:
                self._models[name] = super().get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._models[name] = error
        found = self._models[name]
        if isinstance(found, MlflowException):
            raise found
        return found

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment that the runs of a model are in."""
        found = self._experiments.get(name) or super().get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            self._experiments[name] = found
        return found

    def know_alias(self, name: str, alias: str, version: str) -> None:
        """What an alias points at was read or written in the database itself."""
        self._note_model(name, "_aliases", {alias: version})

    def search_model_versions(self, filter_string: str | None = None, *given: Any) -> Any:
        """The versions of a model, or those of one of its nights."""
        asked = OF_MODEL.fullmatch(filter_string or "")
        if not asked or given:
            return super().search_model_versions(filter_string, *given)
        every = self._versions_of(asked[1]).values()
        return [one for one in every if asked[2] is None or one.tags.get("night") == asked[2]]

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """A version of a model."""
        if found := self._versions_of(name).get(str(version)):
            return found
        raise MlflowException(f"No version {version} of {name}.", RESOURCE_DOES_NOT_EXIST)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias points at."""
        version = self.get_registered_model(name).aliases.get(alias)
        if version is None:
            raise MlflowException(f"No alias {alias} of {name}.", INVALID_PARAMETER_VALUE)
        return self.get_model_version(name, str(version))

    def create_registered_model(self, name: str, *given: Any, **named: Any) -> RegisteredModel:
        """A new model."""
        with self._changes(name):
            made = super().create_registered_model(name, *given, **named)
            self._models[name] = made
        return made

    def create_model_version(self, name: str, *given: Any, **named: Any) -> ModelVersion:
        """A new version of a model; where there was none by that name, MLflow is not asked."""
        if isinstance(missing := self._models.get(name), MlflowException):
            raise missing
        with self._changes(name):
            made = super().create_model_version(name, *given, **named)
            if name in self._versions:
                self._versions[name][str(made.version)] = made
        return made

    def delete_model_version(self, name: str, version: str) -> None:
        """A version is gone."""
        with self._changes(name):
            super().delete_model_version(name, version)
            self.forget_model(name)
            self.forget_versions(name)

    def set_model_version_tag(
        self,
        name: str,
        version: str | None = None,
        key: str | None = None,
        value: Any = None,
        stage: str | None = None,
    ) -> None:
        """A tag of a version."""
        with self._changes(name):
            super().set_model_version_tag(name, version, key, value, stage)
            self._note_version(name, str(version), {str(key): str(value)})

    def delete_model_version_tag(
        self, name: str, version: str | None = None, key: str | None = None, *stage: Any
    ) -> None:
        """A version without this tag."""
        with self._changes(name):
            super().delete_model_version_tag(name, version, key, *stage)
            self._note_version(name, str(version), {}, str(key))

    def set_registered_model_tag(self, name: str, key: str, value: Any) -> None:
        """A tag of a model."""
        with self._changes(name):
            super().set_registered_model_tag(name, key, value)
            self._note_model(name, "_tags", {key: str(value)})

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """A model without this tag."""
        with self._changes(name):
            super().delete_registered_model_tag(name, key)
            self._note_model(name, "_tags", {}, key)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """A version that an alias points at from now on."""
        with self._changes(name):
            super().set_registered_model_alias(name, alias, version)
            self._note_model(name, "_aliases", {alias: version})

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """An alias that points at nothing any more."""
        with self._changes(name):
            super().delete_registered_model_alias(name, alias)
            self._note_model(name, "_aliases", {}, alias)

    @contextmanager
    def _changes(self, name: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.forget_model(name)
            self.forget_versions(name)
            raise

    def _versions_of(self, name: str) -> dict[str, ModelVersion]:
        if name not in self._versions:
            found = super().search_model_versions(f"name = '{name}'")
            self._versions[name] = {str(one.version): one for one in found}
        return self._versions[name]

    def _note_version(
        self, name: str, version: str, more: Mapping[str, str], gone: str | None = None
    ) -> None:
        if found := self._versions.get(name, {}).get(version):
            self._versions[name][version] = _with(found, "_tags", more, gone)

    def _note_model(
        self, name: str, what: str, more: Mapping[str, str], gone: str | None = None
    ) -> None:
        found = self._models.get(name)
        if isinstance(found, RegisteredModel):
            self._models[name] = _with(found, what, more, gone)


def _with(found: Any, what: str, more: Mapping[str, str], gone: str | None) -> Any:
    """A copy with more tags or aliases and without one: who was given it before keeps his own."""
    kept = {name: value for name, value in vars(found)[what].items() if name != gone}
    made = copy.copy(found)
    setattr(made, what, {**kept, **more})
    return made
