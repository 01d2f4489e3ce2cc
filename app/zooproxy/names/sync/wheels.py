"""An opened wheel (PEP 427): its stamp, and the text of its members."""

from __future__ import annotations

import email.parser
import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from zooproxy.errors import UnreadablePackage

EXTRACTOR_VERSION: Final = 1  # raise it when the same wheel would give other data
MAX_MEMBER_BYTES: Final = 4 * 2**20
_CHUNK = 2**20
#: What zipfile raises for a damaged, an encrypted or an exotically compressed member.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, RuntimeError, NotImplementedError, EOFError)


@dataclass(frozen=True)
class Stamp:
    """Where data came from. ``date`` is the newest date inside the wheel (ISO 8601), so it is the same each time."""

    package: str
    version: str
    licence: str
    wheel_sha256: str
    date: str

    def to_json(self) -> dict[str, object]:
        return {
            "package": self.package,
            "version": self.version,
            "licence": self.licence,
            "wheel_sha256": self.wheel_sha256,
            "date": self.date,
            "extractor": EXTRACTOR_VERSION,
        }


class Wheel:
    """A wheel opened for reading; the caller keeps ``file`` open and closes it.

    Raises:
        UnreadablePackage: the file is no zip archive, or no wheel.
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
        """The UTF-8 text of one member.

        Raises:
            UnreadablePackage: absent, damaged, encrypted, longer than ``MAX_MEMBER_BYTES``, or not UTF-8.
        """
        try:
            if self._archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
                raise UnreadablePackage(f"the wheel's member {name} has more than {MAX_MEMBER_BYTES:,} bytes")
            return self._archive.read(name).decode("utf-8")
        except KeyError as error:
            raise UnreadablePackage(f"the wheel has no member {name}") from error
        except _UNREADABLE as error:
            raise UnreadablePackage(f"the wheel's member {name} cannot be read") from error

    def stamp(self, licence: str) -> Stamp:
        """``licence`` is its SPDX identifier: wheels say it in too many ways to be read by a program."""
        metadata = self._metadata()
        date = max(member.date_time for member in self._archive.infolist())
        return Stamp(
            package=metadata["name"],
            version=metadata["version"],
            licence=licence,
            wheel_sha256=self._sha256(),
            date="{:04}-{:02}-{:02}".format(*date[:3]),
        )

    def _metadata(self) -> Mapping[str, str]:
        for name in self.names():
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
                headers = email.parser.HeaderParser().parsestr(self.text(name))
                if headers["Name"] and headers["Version"]:
                    return {"name": headers["Name"], "version": headers["Version"]}
        raise UnreadablePackage("the file is no wheel: it has no METADATA with a name and a version")

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
