"""``direct`` at the end of ``ZOOPROXY``: no proxy served, so the node fetches the published file itself.

The same checks as the proxy's: the whole length, the hash that the file name promises, the structure of a checkpoint.
A file is kept in the node's store under the digest of its URL, and only once it has passed. The standard library's
opener follows ``HTTP(S)_PROXY`` and ``NO_PROXY``; a login for the host is taken from netrc.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import mmap
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Optional

from zooproxy.client.assembly import tensors_of, tree_with_tensors
from zooproxy.client.node_store import held_alone, partial_file
from zooproxy.client.plan import Plan, plan_of
from zooproxy.client.progress import Progress
from zooproxy.client.settings import ClientSettings, login_for
from zooproxy.client.storages import Buffer, MapLocation
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import (
    DigestMismatch,
    FetchError,
    RedirectRefused,
    UnsupportedFormat,
    UnsupportedSource,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.formats.reader import read_tensor_index
from zooproxy.formats.variants import select_model
from zooproxy.names.catalog import Catalog, Resolution, Source
from zooproxy.names.reference import parse
from zooproxy.wire.tensors import TensorIndex

_TRIES: Final = 3
_BLOCK: Final = 1 << 20
_SUFFIX: Final = ".tensors"  # what the node's store counts and prunes


@dataclass(frozen=True)
class Fetched:
    """What a reference gave, and what to tell the user of it."""

    value: Any
    warnings: tuple[str, ...]


def fetch_direct(ref: str, map_location: MapLocation, prefix: Optional[str], settings: ClientSettings) -> Fetched:
    """The ``model`` variant of ``ref``, from its publisher.

    Raises:
        BadReference, NotInCatalog: see ``names``.
        UnsupportedSource: only http and https are fetched without a proxy.
        FetchError, DigestMismatch: it did not deliver, or not what the file name promises.
        FormatError: it is no checkpoint that can be read.
    """
    resolution = _resolved(ref)
    with _published(settings.folder, resolution.source, ref) as (file, digest):
        return Fetched(_model(file, digest, resolution, prefix, map_location), resolution.warnings)


def copy_published(ref: str, to: Path, settings: ClientSettings) -> Path:
    """Copies the published file to ``to``, or under its own name into the directory ``to``; raises as above."""
    source = _resolved(ref).source
    path = to / source.file_name if to.is_dir() else to
    with _published(settings.folder, source, ref) as (file, _), partial_file(path) as copy:
        shutil.copyfileobj(file, copy, _BLOCK)
        Path(copy.name).replace(path)
    return path


def _resolved(ref: str) -> Resolution:
    resolution = Catalog.shipped().resolve(parse(ref))
    if not resolution.source.url.startswith(("http://", "https://")):
        raise UnsupportedSource("without a proxy only http and https URLs can be fetched; this is another source")
    return resolution


def _model(
    file: IO[bytes], digest: Sha256, resolution: Resolution, prefix: Optional[str], map_location: MapLocation
) -> Any:
    size = os.fstat(file.fileno()).st_size
    index = read_tensor_index(file, size, digest)  # type: ignore[arg-type]  # a file opened for bytes
    selected = select_model(index, recipe=resolution.recipe, prefix=prefix)
    if selected.byteorder != sys.byteorder:
        raise UnsupportedFormat("the checkpoint's byte order is not this machine's")
    plan = _where_it_lies(selected)
    buffer = Buffer(size, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))
    return tree_with_tensors(selected.tree, tensors_of(selected, plan, buffer, map_location))


def _where_it_lies(index: TensorIndex) -> Plan:
    """A plan whose memory is the whole file: each storage where the file has it."""
    needed = plan_of(index).places
    return Plan((), {number: index.storages[number].offset for number in needed}, index.size)


@contextlib.contextmanager
def _published(folder: Optional[Path], source: Source, label: str) -> Iterator[tuple[IO[bytes], Sha256]]:
    """The published file, open, and a name for its bytes; downloaded by one process of the node at a time."""
    if folder is None:
        with contextlib.ExitStack() as stack:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zooproxy-")))
            yield stack.enter_context(_published(temporary, source, label))
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = Sha256(hashlib.sha256(f"direct {source.url}".encode()).hexdigest())
    path = folder / f"{name}{_SUFFIX}"
    if not path.exists():
        with held_alone(path):
            if not path.exists():
                _download(path, source, label)
    with path.open("rb") as file:
        with contextlib.suppress(OSError):
            os.utime(path)
        yield file, name


def _download(path: Path, source: Source, label: str) -> None:
    failure: Optional[FetchError] = None
    for _ in range(_TRIES):
        if failure is not None:
            logging.getLogger("zooproxy").warning("%s; trying again", failure)
        with partial_file(path) as file:
            try:
                digest = _receive(file, source.url, label)
            except (UpstreamTruncated, UpstreamUnreachable) as error:
                failure = error
                continue
            _prove(file, digest, source)
            os.fsync(file.fileno())
            Path(file.name).replace(path)
            return
    raise failure or UpstreamUnreachable("nothing was tried", url=source.url)


def _prove(file: IO[bytes], digest: Sha256, source: Source) -> None:
    hint = source.sha256_hint or ""
    if not digest.matches_hint(hint):
        message = f"the bytes of {source.url} hash to {digest}; the published file name promises {hint}"
        raise DigestMismatch(message, expected=hint, actual=digest)
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
        message = f"{url} ended after {hasher.size:,} of {expected:,} bytes"
        raise UpstreamTruncated(message, url=url, expected=expected, received=hasher.size)
    file.flush()
    return hasher.digest()


def _read(response: Any, url: str) -> bytes:
    try:
        block: bytes = response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamUnreachable(f"{url} broke off: {type(error).__name__}", url=url) from error
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
        raise UpstreamStatus(f"{url} answered with status {error.code}", url=url, status=error.code) from error
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise UpstreamUnreachable(f"{url} cannot be reached: {why}", url=url) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never from https to anything else: what TLS vouched for would not be what arrives."""

    def redirect_request(  # the base class's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise RedirectRefused(f"{req.full_url} redirects to a place without TLS", url=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
