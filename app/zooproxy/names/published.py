"""Files that were published to the proxy itself, as sources: ``published://-/<sha256>/<file name>``.

As with a site's own files, no reference leads there by itself, only a name that was published; and what such a source
has can never change, for its digest is a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Optional, Union
from urllib.parse import quote, unquote

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.names.local_files import LocalFile, local_file
from zooproxy.names.reference import Reference, parse

SCHEME: Final = "published"
LATEST: Final = "latest"
MAX_NAME: Final = 200
MAX_FILE_NAME: Final = 200
_PREFIX: Final = f"{SCHEME}://-/"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{1,7}}\Z")
_TAG = re.compile(rf"{_PART}\Z")


@dataclass(frozen=True)
class PublishedFile:
    """A file by its digest; ``file_name`` is what it is called where it is downloaded."""

    sha256: Sha256
    file_name: str

    @property
    def canonical(self) -> str:
        return f"{_PREFIX}{self.sha256}/{quote(self.file_name)}"


Located = Union[Reference, LocalFile, PublishedFile]


def published_file(url: str) -> Optional[PublishedFile]:
    """The published file that ``url`` stands for; None for every other URL."""
    if not url.startswith(_PREFIX):
        return None
    digest, _, file_name = url[len(_PREFIX) :].partition("/")
    try:
        return PublishedFile(Sha256(digest), unquote(file_name))
    except ValueError:
        return None


def locate(url: str) -> Located:
    """What the URL of a source stands for: a file of the site's own, a published one, or one of somebody else's.

    Raises:
        BadReference: it is no URL of a source.
    """
    return local_file(url) or published_file(url) or parse(url)


@dataclass(frozen=True)
class PublishedName:
    """A name under which files are published, and one of its tags; None is the name alone, which is the latest.

    Raises:
        BadRequest: it cannot be one; the message says what can.
    """

    zoo: str
    name: str
    tag: Optional[str] = None

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME or not _NAME.match(self.name):
            raise BadRequest(
                "a name to publish under is written team/model: two to eight parts of letters, digits, '.', '_' and '-'"
                f", which begin and end with a letter or a digit; {MAX_NAME} characters at most"
            )
        if self.tag is not None and (len(self.tag) > MAX_NAME or not _TAG.match(self.tag) or self.tag == LATEST):
            raise BadRequest(
                "a tag is letters, digits, '.', '_' and '-', and begins and ends with a letter or a digit; 'latest' is"
                " what was published last, and no tag"
            )

    @property
    def full(self) -> str:
        return self.name if self.tag is None else f"{self.name}@{self.tag}"

    @property
    def ref(self) -> str:
        return f"{self.zoo}://{self.full}"


def checked_file_name(text: str) -> str:
    """
    Raises:
        BadRequest: no file should be called so.
    """
    if not text or len(text) > MAX_FILE_NAME or not text.isprintable() or text in (".", "..") or set(text) & set("/\\"):
        raise BadRequest(f"a file's name is printable, without slashes, {MAX_FILE_NAME} characters at most")
    return text
