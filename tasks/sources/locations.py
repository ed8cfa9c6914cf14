"""Files of a source, in a local folder or behind an fsspec URL; never half-written ones."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import settings
from tasks.shown import SECRET_OPTION, hide
from tasks.sources.base import SourceError, SourceOutageError, SourceSettingsError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
LOGIN = re.compile(r"://[^:/@]*:([^@]*)@")
SECRET = re.compile(rf"(?i)[?&;#]{SECRET_OPTION}=(?!\$\{{)[^&;]")
CONTENT_MARKS = ("ETag", "etag", "md5Hash", "md5", "content_md5", "crc32c", "checksum")
BEING_WRITTEN = (".tmp", ".part")
LEFT_BEHIND = ("~", ".bak", ".orig", ".swp", ".crc")
"""Endings of copies that are no data."""
TIME_MARKS = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


@dataclass(frozen=True)
class File:
    """One complete file.

    Attributes:
        path: Where it is.
        identity: Size and time of the last change, or what a remote store says of its content;
            it changes when another file takes the same path.
        system: The fsspec file system it is on; None for a local file.
        secrets: What of its address no message shows.
    """

    path: str
    identity: str
    system: Any = field(default=None, repr=False, compare=False)
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its name without the folder."""
        return _name(self.path)

    @property
    def shown(self) -> str:
        """Its path for people."""
        return hide(self.path, self.secrets)

    def content(self) -> bytes:
        """All bytes of a local file.

        Raises:
            SourceError: Where it cannot be read, or is written while it is read.
        """
        with self._unchanged(), _answered(self):
            return Path(self.path).read_bytes()

    @contextmanager
    def local(self, folder: Path) -> Iterator[Path]:
        """A local file with its content: itself, or a copy in ``folder`` while it is used.

        Raises:
            SourceError: Where it cannot be read, or is written while it is used.
        """
        if self.system is None:
            with self._unchanged():
                yield Path(self.path)
            return
        copy = folder / f".{self.name}"
        try:
            with self._unchanged(), _answered(self):
                self.system.get_file(self.path, str(copy))
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        before = self._now()
        yield
        if self._now() != before:
            raise SourceError(
                f"{self.shown}: changed while it was read; expected a complete file. Write it "
                "under a name that begins with _, and rename it when it is complete."
            )

    def _now(self) -> str:
        with _answered(self):
            if self.system is None:
                return local_identity(Path(self.path).stat())
            return _remote_identity(self.system.info(self.path))


def check_path(kind: str, path: object) -> None:
    """Raise SourceSettingsError unless this is a path or URL without a password in it."""
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise SourceSettingsError(
            f"{kind}: found path={str(path)[:80]!r}; expected a path or a URL such as "
            "s3://bucket/folder."
        )
    check_secrets(kind, path)


def check_secrets(kind: str, url: str) -> None:
    """Raise SourceSettingsError where a URL holds a password instead of ``${NAME}``."""
    login = LOGIN.search(url)
    literal = bool(login and login[1] and not re.fullmatch(r"(\$\{\w+\})+", login[1]))
    if literal or SECRET.search(url):
        raise SourceSettingsError(
            f"{kind}: found a password in the address; expected it in an environment variable, so "
            "that no report shows it. Write ${NAME} in its place, such as "
            "postgresql://shop:${SHOP_PASSWORD}@host/shop, and set NAME where nights run."
        )


def filled(text: str) -> str:
    """The text with each ``${NAME}`` taken from the environment.

    Raises:
        SourceSettingsError: Where a variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise SourceSettingsError(
                f"The environment variable {found[1]}, which {text} names, is not set. Set it "
                "wherever nights run, also for the Prefect worker."
            )
        return os.environ[found[1]]

    return PLACEHOLDER.sub(value, text)


def is_remote(path: str) -> bool:
    """Whether a path is a URL for fsspec."""
    return URL.match(path) is not None


def local_path(path: str) -> Path:
    """A local path; a relative one starts at the project's root."""
    return settings.PROJECT / Path(path).expanduser()


def list_files(path: str, expected: str) -> dict[str, File | None]:
    """Name to file of everything in a folder that is not still being written, ascending.

    Names that begin with a dot or an underscore, or end with ``.tmp`` or ``.part``, are files still
    being written and skipped; so are the copies that editors and tools leave, ``LEFT_BEHIND``. A
    folder in it is None. For a path to one file, that file.

    Args:
        path: Local path or URL.
        expected: What should be there, for a message.

    Raises:
        SourceError: Where the path does not exist or cannot be listed.
    """
    return _list_remote(path, expected) if is_remote(path) else _list_local(path, expected)


def local_identity(found: os.stat_result) -> str:
    """Size and time of the last change, also of a change that sets the file's time itself."""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _list_local(path: str, expected: str) -> dict[str, File | None]:
    place = local_path(path)
    files: dict[str, File | None] = {}
    try:
        if place.is_file():
            return {place.name: File(str(place), local_identity(place.stat()))}
        if not place.is_dir():
            raise _absent(str(place), expected)
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if not _left_aside(entry.name):
                whole = File(str(place / entry.name), local_identity(entry.stat()))
                files[entry.name] = whole if entry.is_file() else None
    except OSError as error:
        raise SourceError(f"{place}: cannot be listed: {error.strerror}.") from error
    return files


def _list_remote(path: str, expected: str) -> dict[str, File | None]:
    with _answered(_asked(path)):
        from fsspec.core import url_to_fs

        system, root = url_to_fs(filled(path))
        system.invalidate_cache()
        if not system.exists(root):
            raise _absent(path, expected)
        entries = [system.info(root)] if system.isfile(root) else system.ls(root, detail=True)
    files: dict[str, File | None] = {}
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        where = str(entry["name"])
        name = _name(where.rstrip("/"))
        if where.rstrip("/") == root.rstrip("/") and entry["type"] == "directory":
            continue
        if not _left_aside(name):
            is_file = entry["type"] == "file"
            secrets = _filled_in(path)
            files[name] = File(where, _remote_identity(entry), system, secrets) if is_file else None
    return files


def _remote_identity(found: Mapping[str, Any]) -> str:
    """The checksum that a remote store reports; without one, the time of the last change."""
    for names in (CONTENT_MARKS, TIME_MARKS):
        said = [f"{name}={found[name]}" for name in names if found.get(name)]
        if said:
            return hashlib.sha256(f"{found.get('size')} {said}".encode()).hexdigest()
    raise SourceSettingsError(
        f"{found['name']}: found neither a checksum nor a time of its last change; expected one "
        "of them, because otherwise a changed file would not be noticed. Use another fsspec "
        "protocol."
    )


@contextmanager
def _answered(file: File) -> Iterator[None]:
    """Turn errors of the file system into a SourceError that shows no secret."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError:
        raise SourceError(
            f"{file.shown}: the file is gone; it was there when the days were listed. Run the "
            "night again."
        ) from None
    except PermissionError as error:
        raise SourceSettingsError(
            f"{file.shown}: no permission to read it: {_said(error, file)}. Give the user that "
            "runs the nights the permission, or set the credentials of the store."
        ) from None
    except ImportError as error:
        raise SourceSettingsError(
            f"{file.shown}: its protocol needs a package that is not installed: {error}. Install "
            "it in this project's environment."
        ) from error
    except ValueError as error:
        raise SourceSettingsError(
            f"{file.shown}: not an address that fsspec knows: {_said(error, file)}. Correct the "
            "path in the model's source."
        ) from None
    except Exception as error:  # stores raise exceptions of their own libraries
        if file.system is None and isinstance(error, OSError):
            raise SourceError(f"{file.shown}: cannot be read: {_said(error, file)}.") from error
        raise SourceOutageError(
            f"{file.shown}: does not answer: {type(error).__name__}: {_said(error, file)}."
        ) from None


def _said(error: Exception, file: File) -> str:
    return hide(str(getattr(error, "strerror", None) or error), file.secrets).rstrip(".")


def _asked(path: str) -> File:
    """A path or URL as a person named it, not yet listed."""
    return File(path, "", path, _filled_in(path))


def _filled_in(path: str) -> tuple[str, ...]:
    """Values of the variables that a URL names."""
    return tuple(os.environ.get(name, "") for name in PLACEHOLDER.findall(path))


def _name(path: str) -> str:
    """The last part of a path; of a URL without what its server is asked."""
    bare = path.partition("?")[0] if path.startswith(("http://", "https://")) else path
    return bare.rpartition("/")[2]


def _absent(path: str, expected: str) -> SourceError:
    return SourceSettingsError(
        f"{path}: found no such folder or file; expected {expected}. Deliver it, or correct the "
        "path in the model's source."
    )


def _left_aside(name: str) -> bool:
    return name.startswith((".", "_", "#")) or name.endswith((*BEING_WRITTEN, *LEFT_BEHIND))
