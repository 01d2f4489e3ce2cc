"""Whether bundles are what they say: every byte against its digest, and the parts against the whole."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BundleIncomplete, DigestMismatch, MalformedBundle
from zooproxy.provide.bundles.layout import blob_name
from zooproxy.provide.bundles.manifest import Manifest, identity, joined
from zooproxy.provide.bundles.reading import BundleReader

WORKERS: Final = min(4, os.cpu_count() or 1)
"""Members that are hashed side by side, where a bundle can be read so."""


def check_members(reader: BundleReader) -> None:
    """Reads to the end.

    Raises:
        MalformedBundle, DigestMismatch: as soon as something is wrong.
    """
    checking: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WORKERS, "bundle-check") as threads:
        try:
            for member in reader.manifest.contents.members:
                checking.append(threads.submit(_check_member, reader.blocks(member), member.sha256))
                while len(checking) > (2 * WORKERS if reader.apart else 0):
                    checking.popleft().result()
            while checking:
                checking.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)
    reader.end()


def _check_member(blocks: Iterable[bytes], expected: Sha256) -> None:
    hasher = Hasher()
    for block in blocks:
        hasher.update(block)
    check_digest(hasher.digest(), expected)


def check_digest(actual: Sha256, expected: Sha256) -> None:
    """
    Raises:
        DigestMismatch: a member's bytes are not what its name says.
    """
    if actual != expected:
        message = f"the bytes of {blob_name(expected)} hash to {actual}: the bundle is damaged; copy it again"
        raise DigestMismatch(message, expected=expected, actual=actual)


def check_parts(manifests: Sequence[Manifest]) -> None:
    """Every bundle that is there is there with all its parts.

    Raises:
        BundleIncomplete: a part is missing.
        MalformedBundle: the parts do not make up the whole that they say they do.
    """
    for whole in dict.fromkeys(manifest.part.whole for manifest in manifests):
        _check_whole([manifest for manifest in manifests if manifest.part.whole == whole])


def _check_whole(parts: Iterable[Manifest]) -> None:
    by_number = {manifest.part.number: manifest for manifest in parts}
    one = next(iter(by_number.values()))
    missing = [str(number) for number in range(1, one.part.count + 1) if number not in by_number]
    if missing:
        named = ", ".join(missing)
        message = f"of the {one.part.count} parts of the bundle {one.part.whole[:12]} these are not here: {named}"
        raise BundleIncomplete(message)
    whole = joined(by_number[number].contents for number in sorted(by_number))
    if identity(one.created_by, whole) != one.part.whole:
        raise MalformedBundle("the parts do not make up the bundle that they say they are of")
