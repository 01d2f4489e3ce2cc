"""The index beside the store: what one of them says and the other does not. Nothing is hashed, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from zooproxy.cache.blobs import BlobStore, Stored
from zooproxy.cache.inventory import Inventory
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class Survey:
    """``rows``: sizes by the index, in bytes. ``stored``: what the store has under a digest. ``strays``: the rest.

    What is published or removed while a survey is made may be seen by one half of it: ask again before acting.
    """

    rows: Mapping[Sha256, int]
    stored: Mapping[Sha256, Stored]
    strays: tuple[Stored, ...]

    def missing(self) -> Iterator[Sha256]:
        """Held by the index, and not there."""
        return (digest for digest in self.rows if not self._is_there(digest))

    def of_wrong_length(self) -> Iterator[Sha256]:
        """There, and not as long as the index says."""
        return (digest for digest, size in self.rows.items() if self._is_there(digest) and self._size(digest) != size)

    def unknown(self) -> Iterator[Stored]:
        """There, and not held by the index; or only a sidecar is there."""
        return (one for digest, one in self.stored.items() if digest not in self.rows)

    def without_sidecar(self) -> Iterator[Sha256]:
        return (digest for digest in self.rows if self._is_there(digest) and not self.stored[digest].has_sidecar)

    def _is_there(self, digest: Sha256) -> bool:
        return digest in self.stored and self.stored[digest].size is not None

    def _size(self, digest: Sha256) -> int | None:
        return self.stored[digest].size


async def survey(store: BlobStore, inventory: Inventory) -> Survey:
    """The rows first: a blob is there before its row is.

    Raises:
        CacheError: one of the two cannot be read.
    """
    rows = await inventory.blobs()
    found = [one async for portion in store.listing() for one in portion]
    stored = {one.digest: one for one in found if one.digest is not None}
    return Survey(rows, stored, tuple(one for one in found if one.digest is None))
