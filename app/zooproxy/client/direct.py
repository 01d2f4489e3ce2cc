"""``direct`` at the end of ``ZOOPROXY``: no proxy served, so the node fetches the published file itself.

The same checks as the proxy's: the whole length, the hash that the file name promises, the structure of a checkpoint;
with a lock file, the digest that it lists, from the URL that it lists. A file is kept in the node's store under a
digest of its URL, and only once it has passed. The standard library's opener follows ``HTTP(S)_PROXY`` and
``NO_PROXY``; a login for the host is taken from netrc.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import mmap
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Optional

from zooproxy.client.locked import locked_entry, prove_locked
from zooproxy.client.node_store import held_alone, partial_file
from zooproxy.client.progress import Progress
from zooproxy.client.published import Published
from zooproxy.client.settings import ClientSettings, login_for
from zooproxy.client.storages import Buffer, MapLocation
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import (
    DigestMismatch,
    FetchError,
    RedirectRefused,
    UnsupportedSource,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.formats.forms import Form
from zooproxy.formats.reader import read_tensor_index
from zooproxy.masking import masked
from zooproxy.names.catalog import Catalog
from zooproxy.names.file_names import file_name_of
from zooproxy.names.lock import Locked
from zooproxy.names.reference import parse

_TRIES: Final = 3
_BLOCK: Final = 1 << 20
_SUFFIX: Final = ".tensors"  # what the node's store counts and prunes


@dataclass(frozen=True)
class Fetched:
    """What a reference gave, and what to tell the user of it."""

    value: Any
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A file to fetch for ``ref``: where it is, what its name promises, what it is locked to, how it is called."""

    ref: str
    url: str
    hint: str
    locked: Optional[Locked]
    file_name: str
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> Sha256:
        """Names the file in the node's store: what it has been proven to be is part of it."""
        digest = self.locked.sha256 if self.locked else ""
        return Sha256.of(f"direct {self.url} {digest}".rstrip().encode())


def fetch_direct(ref: str, form: Form, map_location: MapLocation, settings: ClientSettings) -> Fetched:
    """What ``form`` selects of ``ref``, from its publisher; ``form.format`` and ``form.dtype`` mean nothing here.

    Raises:
        BadReference, NotInCatalog: see ``names``.
        UnsupportedSource: only http and https are fetched without a proxy.
        FetchError, DigestMismatch: it did not deliver, or not what the file name promises.
        NotLocked, LockedOtherwise: it is not in the lock file, or did not deliver what that one lists.
        FormatError: it is no checkpoint that can be read.
    """
    wanted = _resolved(ref, settings)
    with _published(settings.folder, wanted) as file:
        size = os.fstat(file.fileno()).st_size
        buffer = Buffer(size, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))
    return Fetched(Published(buffer, wanted.key).value(ref, form, map_location), wanted.warnings)


def copy_published(ref: str, to: Path, settings: ClientSettings) -> Path:
    """Copies the published file to ``to``, or under its own name into the directory ``to``; raises as above."""
    wanted = _resolved(ref, settings)
    path = to / wanted.file_name if to.is_dir() else to
    with _published(settings.folder, wanted) as file, partial_file(path) as copy:
        shutil.copyfileobj(file, copy, _BLOCK)
        Path(copy.name).replace(path)
    return path


@dataclass(frozen=True)
class Proven:
    """A published file by its source's URL, digest and size in bytes."""

    url: str
    sha256: Sha256
    size: int


def proven(ref: str, settings: ClientSettings) -> Proven:
    """What ``ref`` is, from its publisher: fetched where the node's store does not have it; raises as above."""
    wanted = _resolved(ref, settings)
    hasher = Hasher()
    with _published(settings.folder, wanted) as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            hasher.update(block)
    return Proven(masked(wanted.url), hasher.digest(), hasher.size)


def _resolved(ref: str, settings: ClientSettings) -> Wanted:
    locked = locked_entry(ref, settings)
    if locked is None:
        resolution = Catalog.shipped().resolve(parse(ref))
        source = resolution.source
        wanted = Wanted(ref, source.address, source.sha256_hint or "", None, source.file_name, resolution.warnings)
    else:
        wanted = Wanted(ref, locked.url, "", locked, file_name_of(locked.url.partition("?")[0]))
    if not wanted.url.startswith(("http://", "https://")):
        raise UnsupportedSource("without a proxy only http and https URLs can be fetched; this is another source")
    return wanted


@contextlib.contextmanager
def _published(folder: Optional[Path], wanted: Wanted) -> Iterator[IO[bytes]]:
    """The published file, open; downloaded by one process of the node at a time."""
    if folder is None:
        with contextlib.ExitStack() as stack:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zooproxy-")))
            yield stack.enter_context(_published(temporary, wanted))
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{wanted.key}{_SUFFIX}"
    if not path.exists():
        with held_alone(path):
            if not path.exists():
                _download(path, wanted)
    with path.open("rb") as file:
        with contextlib.suppress(OSError):
            os.utime(path)
        yield file


def _download(path: Path, wanted: Wanted) -> None:
    failure: Optional[FetchError] = None
    for _ in range(_TRIES):
        if failure is not None:
            logging.getLogger("zooproxy").warning("%s; trying again", failure)
        with partial_file(path) as file:
            try:
                digest = _receive(file, wanted.url, wanted.ref)
            except (UpstreamTruncated, UpstreamUnreachable) as error:
                failure = error
                continue
            _prove(file, digest, wanted)
            os.fsync(file.fileno())
            Path(file.name).replace(path)
            return
    raise failure or UpstreamUnreachable("nothing was tried", url=wanted.url)


def _prove(file: IO[bytes], digest: Sha256, wanted: Wanted) -> None:
    if wanted.locked is not None:
        prove_locked(wanted.locked, digest, f"the bytes of {masked(wanted.url)} have")
    if not digest.matches_hint(wanted.hint):
        message = f"the bytes of {masked(wanted.url)} hash to {digest}; the published file name promises {wanted.hint}"
        raise DigestMismatch(message, expected=wanted.hint, actual=digest)
    read_tensor_index(file, file.seek(0, os.SEEK_END), digest)  # type: ignore[arg-type]


def _receive(file: IO[bytes], url: str, label: str) -> Sha256:
    hasher = Hasher()
    with _opened(url) as response:
        declared = response.headers.get("Content-Length", "")
        expected = int(declared) if declared.isdecimal() else None
        with Progress(label, expected or 0) as progress:
            while True:
                block = _read(response, url)
                if not block:
                    break
                hasher.update(block)
                file.write(block)
                progress.advance(len(block))
    if expected is not None and hasher.size != expected:
        message = f"{masked(url)} ended after {hasher.size:,} of {expected:,} bytes"
        raise UpstreamTruncated(message, url=url, expected=expected, received=hasher.size)
    file.flush()
    return hasher.digest()


def _read(response: Any, url: str) -> bytes:
    try:
        block: bytes = response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamUnreachable(f"{masked(url)} broke off: {type(error).__name__}", url=url) from error
    return block


def _opened(url: str) -> Any:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "zooproxy"})  # noqa: S310  # http(s) only, checked above
    login = login_for(url)
    if login is not None:
        request.add_unredirected_header("Authorization", login)
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        error.close()
        raise UpstreamStatus(f"{masked(url)} answered with status {error.code}", url=url, status=error.code) from error
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise UpstreamUnreachable(f"{masked(url)} cannot be reached: {why}", url=url) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never from https to anything else: what TLS vouched for would not be what arrives."""

    def redirect_request(  # the base class's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise RedirectRefused(f"{req.full_url} redirects to a place without TLS", url=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
