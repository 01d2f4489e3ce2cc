"""``ZOOPROXY_LOCK``: nothing is loaded but what the lock file lists, whatever a proxy or a publisher says.

As with Go's go.sum, the proxy need not be trusted: a file is taken whole, its sha256 is compared with the lock's, and
its tensors are found by reading it here, not by the proxy's index of it. So a part of it (``prefix``) moves all of it,
once for a node: no digest of the whole proves a part, and nobody but the file itself vouches for the digests of its
storages (the proxy's word for them is what a lock is there to do without). Where the caller asks for no proof
(``verify=False``), and where no bytes are moved (``compare``), the digest that the proxy states is compared.
"""

from __future__ import annotations

from typing import Optional

from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import LockedOtherwise, NotInCatalog, NotLocked
from zooproxy.names.lock import Lock, Locked, lock_at
from zooproxy.names.reference import parse


def locked_entry(ref: str, settings: ClientSettings) -> Optional[Locked]:
    """What ``ref`` is locked to; None where there is no lock file.

    Raises:
        NotLocked: there is one, and it lists neither the reference nor its source.
        MalformedLock: it cannot be read, or is none.
        BadReference: the text is no reference.
    """
    if settings.lock is None:
        return None
    lock = lock_at(settings.lock)
    entry = lock.of(ref) or _of_its_source(ref, lock)
    if entry is None:
        raise NotLocked(
            f"'{ref}' is not in {settings.lock}, and ZOOPROXY_LOCK says that nothing else may be loaded; if it may: "
            f"zooproxy lock '{ref}' -o {settings.lock}",
            reference=ref,
        )
    return entry


def prove_locked(entry: Locked, actual: Sha256, whose: str) -> None:
    """
    Raises:
        LockedOtherwise: ``actual``, the digest of what ``whose`` words tell of, is not the entry's.
    """
    if actual != entry.sha256:
        message = (
            f"{whose} the sha256 {actual}; the lock file has '{entry.ref}' with {entry.sha256}. If the change is "
            f"right: zooproxy lock --update '{entry.ref}'"
        )
        raise LockedOtherwise(message, reference=entry.ref, expected=entry.sha256, actual=actual)


def _of_its_source(ref: str, lock: Lock) -> Optional[Locked]:
    """The entry of another name of the same file, by the packaged catalog."""
    from zooproxy.names.catalog import Catalog  # the names of every zoo: rarely needed, never first

    try:
        return lock.of_url(Catalog.shipped().resolve(parse(ref)).source.url)
    except NotInCatalog:
        return None
