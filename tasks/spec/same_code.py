"""Whether another process would make the same of a model: its code and its libraries."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks import settings
from tasks.spec.fingerprint import digest, libraries

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec

CARRIERS = ("cloudpickle", "dask", "distributed", "msgpack", "prefect", "prefect-dask")
"""Libraries that carry a task to another process, besides those that the model needs."""


@dataclass(frozen=True)
class Marks:
    """What must be equal in two processes.

    Attributes:
        code: Digest of the model and of all of this project's code.
        libraries: Distribution to its version.
    """

    code: str
    libraries: Mapping[str, str]

    @property
    def library_digest(self) -> str:
        """Digest of the libraries and their versions."""
        text = "\n".join(f"{name}={version}" for name, version in sorted(self.libraries.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def differs(self, here: Marks) -> str:
        """What another process has that is not as expected, as a clause; empty where it is.

        Args:
            here: What the other process has.
        """
        if here.libraries != self.libraries:
            other = {
                name: (here.libraries.get(name, "absent"), self.libraries.get(name, "absent"))
                for name in sorted({*here.libraries, *self.libraries})
            }
            told = [f"{n} {a}, expected {b}" for n, (a, b) in other.items() if a != b]
            return (
                f"has other libraries: found digest {here.library_digest[:12]}, expected "
                f"{self.library_digest[:12]} ({'; '.join(told[:5])}). Install there what is "
                "installed here"
            )
        if here.code != self.code:
            return (
                f"has other code: found digest {here.code[:12]}, expected {self.code[:12]}. Bring "
                "its clone and its model file to the state of this one, and start it again"
            )
        return ""


@functools.cache
def marks_of(spec: ModelSpec) -> Marks:
    """The marks of this process."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (*libraries(spec), *CARRIERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    code = hashlib.sha256(digest(spec).encode())
    for file in sorted((settings.PROJECT / "tasks").rglob("*.py")):
        code.update(f"{file.relative_to(settings.PROJECT)}\n".encode())
        code.update(hashlib.sha256(file.read_bytes()).digest())
    return Marks(code.hexdigest(), found)
