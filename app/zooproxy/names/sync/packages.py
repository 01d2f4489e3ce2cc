"""A published package, opened for reading: as a wheel (PEP 427), or as it was installed (PEP 376, PEP 627)."""

from __future__ import annotations

import contextlib
import csv
import email.parser
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Optional, Protocol

from zooproxy.errors import UnreadablePackage

EXTRACTOR_VERSION: Final = 2  # raise it when the same package would give other data
MAX_MEMBER_BYTES: Final = 4 * 2**20
_CHUNK = 2**20
#: What zipfile raises for a damaged, an encrypted or an exotically compressed member.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, RuntimeError, NotImplementedError, EOFError)


@dataclass(frozen=True)
class Stamp:
    """Where data came from.

    ``digests`` says what was read: the wheel's sha256, or that of an installation's RECORD. ``date`` is the newest date
    inside the wheel (ISO 8601), so it is the same each time; an installation has none.
    """

    package: str
    version: str
    licence: str
    digests: Mapping[str, str]
    date: Optional[str] = None

    def to_json(self) -> dict[str, object]:
        dated = {} if self.date is None else {"date": self.date}
        return {
            "package": self.package,
            "version": self.version,
            "licence": self.licence,
            **self.digests,
            **dated,
            "extractor": EXTRACTOR_VERSION,
        }


class Package(Protocol):
    """What extractors ask of a package; members are named by their path in the wheel."""

    def names(self) -> list[str]: ...

    def text(self, name: str) -> str:
        """The UTF-8 text of one member.

        Raises:
            UnreadablePackage: absent, damaged, longer than ``MAX_MEMBER_BYTES``, or not UTF-8.
        """
        ...

    def stamp(self, licence: str) -> Stamp:
        """``licence`` is its SPDX identifier: packages say it in too many ways to be read by a program."""
        ...


class Wheel:
    """A wheel opened for reading; the caller keeps ``file`` open and closes it.

    Raises:
        UnreadablePackage: the file is no zip archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            self._archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise UnreadablePackage("the file is no wheel: it is not a zip archive") from error

    def names(self) -> list[str]:
        return self._archive.namelist()

    def text(self, name: str) -> str:
        try:
            if self._archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
                raise UnreadablePackage(f"the wheel's member {name} has more than {MAX_MEMBER_BYTES:,} bytes")
            return self._archive.read(name).decode("utf-8")
        except KeyError as error:
            raise UnreadablePackage(f"the wheel has no member {name}") from error
        except _UNREADABLE as error:
            raise UnreadablePackage(f"the wheel's member {name} cannot be read") from error

    def stamp(self, licence: str) -> Stamp:
        package, version = _identity(self, _metadata_of(self.names()))
        date = max(member.date_time for member in self._archive.infolist())
        digests = {"wheel_sha256": self._sha256()}
        return Stamp(package, version, licence, digests, "{:04}-{:02}-{:02}".format(*date[:3]))

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


class Installation:
    """A package as it lies in ``site_packages``: the files that the RECORD of ``dist_info`` (a name) lists.

    Raises:
        UnreadablePackage: it has no RECORD that can be read.
    """

    def __init__(self, site_packages: Path, dist_info: str) -> None:
        self._root = site_packages
        self._dist_info = dist_info
        self._names = _recorded(self._read(f"{dist_info}/RECORD"))

    def names(self) -> list[str]:
        return list(self._names)

    def text(self, name: str) -> str:
        if name not in self._names:
            raise UnreadablePackage(f"the installation has no file {name}")
        return self._read(name)

    def stamp(self, licence: str) -> Stamp:
        package, version = _identity(self, f"{self._dist_info}/METADATA")
        record = (self._root / self._dist_info / "RECORD").read_bytes()
        return Stamp(package, version, licence, {"record_sha256": hashlib.sha256(record).hexdigest()})

    def _read(self, name: str) -> str:
        path = self._root / name
        try:
            if path.stat().st_size > MAX_MEMBER_BYTES:
                raise UnreadablePackage(f"the installed file {name} has more than {MAX_MEMBER_BYTES:,} bytes")
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadablePackage(f"the installed file {name} cannot be read") from error


def installations(site_packages: Path) -> Iterable[tuple[str, Installation]]:
    """Every installed package by its normalised name (PEP 503), by directory name; broken ones are left out.

    Raises:
        UnreadablePackage: ``site_packages`` is no directory that can be read.
    """
    try:
        found = sorted(path.name for path in site_packages.iterdir() if path.name.endswith(".dist-info"))
    except OSError as error:
        raise UnreadablePackage("the site-packages directory cannot be read") from error
    for dist_info in found:
        with contextlib.suppress(UnreadablePackage):
            yield normalised(dist_info.partition("-")[0]), Installation(site_packages, dist_info)


def package_name(package: Package) -> str:
    """The normalised name (PEP 503) that a package gives itself.

    Raises:
        UnreadablePackage: it has no METADATA with a name.
    """
    return normalised(_identity(package, _metadata_of(package.names()))[0])


def normalised(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return name.replace("_", "-").replace(".", "-").lower()


def _recorded(record: str) -> frozenset[str]:
    rows = csv.reader(io.StringIO(record))
    paths = (PurePosixPath(row[0]) for row in rows if row)
    return frozenset(str(path) for path in paths if not path.is_absolute() and ".." not in path.parts)


def _metadata_of(names: Iterable[str]) -> str:
    for name in names:
        if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
            return name
    raise UnreadablePackage("the file is no wheel: it has no METADATA")


def _identity(package: Package, metadata: str) -> tuple[str, str]:
    headers = email.parser.HeaderParser().parsestr(package.text(metadata))
    name, version = headers["Name"], headers["Version"]
    if not name or not version:
        raise UnreadablePackage("the METADATA of the package gives no name and version")
    return str(name), str(version)
