"""Everything that zooproxy itself can say no with.

No error here knows a transport: ``serving.problems`` maps each class to an HTTP status, ``cli`` to an exit
status. ``slug`` is the stable, public name of the problem; it ends its RFC 9457 ``type``. ``str(error)`` is fit
for a client to read: it names what was wrong and the way out, and never holds a ``repr`` of untrusted data.

::

    ZooproxyError
    ├── BadRequest                    a request that is wrong whatever it asks for
    ├── AccessError                   a request from somebody who may not make it
    │   ├── TokenRequired
    │   ├── ScopeTooLow
    │   ├── ZooNotAllowed
    │   ├── TooManyWrongTokens
    │   └── NotFromHere
    ├── UnknownToken                  an id that no token has
    ├── BadReference                  text that is no reference
    │   ├── MalformedReference
    │   └── UnknownScheme
    ├── NotInCatalog                  a reference that leads nowhere
    │   ├── UnknownZoo
    │   ├── UnknownName
    │   └── NameWithoutWeights
    ├── UnreadablePackage             a published package that names cannot be read from
    ├── UnreadableConfig              a config that references cannot be read from
    ├── SourceError                   a source that will not be asked
    │   ├── UnsupportedSource
    │   ├── HostNotAllowed
    │   ├── HostDenied
    │   ├── NameDenied
    │   └── Offline
    ├── FetchError                    a source that was asked and did not deliver
    │   ├── UpstreamUnreachable
    │   ├── UpstreamStatus
    │   ├── UpstreamTruncated
    │   ├── UpstreamStalled
    │   ├── UpstreamTooLarge
    │   ├── UpstreamEncoded
    │   ├── UpstreamResting
    │   ├── RangeNotBelieved
    │   ├── AddressRefused
    │   ├── FillCancelled
    │   └── RedirectRefused
    ├── UnknownFill                   a fill that is not running and has not ended lately
    ├── ProofError                    bytes that arrived and were not believed
    │   ├── DigestMismatch
    │   │   └── SourceChanged
    │   └── NotACheckpoint
    ├── FormatError                   bytes that are held and cannot be served in this form
    │   ├── MalformedCheckpoint
    │   ├── LimitExceeded
    │   ├── UnsupportedFormat
    │   └── NothingSelected
    ├── CacheError                    what is held, or is not
    │   ├── BlobAbsent
    │   ├── BlobCorrupt
    │   ├── SidecarMalformed
    │   ├── DatabaseTooNew
    │   ├── DatabaseDamaged
    │   ├── AlreadyAtWork
    │   ├── LeaseLost
    │   ├── BlobPinned
    │   ├── BlobInUse
    │   ├── BlobLeft
    │   └── OutOfSpace
    ├── UploadError                   a file that was to be published here and was not taken
    │   ├── UploadMismatch            is a DigestMismatch too
    │   ├── UploadTooLarge
    │   └── AlreadyPublished
    ├── LockError                     weights.lock, and what it does not allow
    │   ├── MalformedLock
    │   └── NotLocked
    │       └── LockedOtherwise           is a DigestMismatch too
    ├── BundleError                   a bundle that is not taken in
    │   ├── MalformedBundle
    │   ├── BundleIncomplete
    │   ├── BundleConflict
    │   └── SignatureRefused
    ├── SettingsError                 how the service or the client was set up
    ├── TooBusy                       a service that has more to do than it takes on
    ├── NotReady                      a service that does not answer, or says that it cannot serve
    └── ClientError                   what only a client can meet
        ├── ProxyNotConfigured
        ├── ProxyUnreachable
        ├── ProxyRefused
        │   └── NameRefused
        └── TransferCorrupt
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Optional

from zooproxy.masking import masked


class ZooproxyError(Exception):
    """The root. ``extras`` are the problem's own members (RFC 9457, section 3.2), JSON values only.

    ``attempts`` are the failures that led up to this one, in order, set by whoever tried more than once.
    """

    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "zooproxy error"
    attempts: tuple[ZooproxyError, ...] = ()

    @property
    def extras(self) -> Mapping[str, object]:
        return {}


class BadRequest(ZooproxyError):
    """A parameter is missing, unknown or malformed."""

    slug = "bad-request"
    title = "Bad request"


class AccessError(ZooproxyError):
    slug = "access"
    title = "Not allowed"


class TokenRequired(AccessError):
    slug = "token-required"
    title = "Token required"


class ScopeTooLow(AccessError):
    """The token is one of the proxy's, and not meant for such calls."""

    slug = "scope-too-low"
    title = "Scope too low"


class ZooNotAllowed(AccessError):
    """The token is limited to some zoos, and this is not theirs."""

    slug = "zoo-not-allowed"
    title = "Zoo not allowed"


class TooManyWrongTokens(AccessError):
    """An address has tried so many tokens that it is not heard for ``retry_after`` seconds."""

    slug = "too-many-wrong-tokens"
    title = "Too many wrong tokens"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFromHere(AccessError):
    """Without a token, calls that change state are taken from the proxy's own machine alone."""

    slug = "not-from-here"
    title = "Not allowed from here"


class UnknownToken(ZooproxyError):
    slug = "unknown-token"
    title = "Unknown token"


# -- references and names ---------------------------------------------------------------------------------


class BadReference(ZooproxyError):
    slug = "bad-reference"
    title = "Not a reference"


class MalformedReference(BadReference):
    slug = "malformed-reference"
    title = "Malformed reference"


class UnknownScheme(BadReference):
    slug = "unknown-scheme"
    title = "Unknown scheme"


class NotInCatalog(ZooproxyError):
    slug = "unknown-name"
    title = "Unknown name"

    def __init__(self, message: str, *, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.suggestions = tuple(suggestions)

    @property
    def extras(self) -> Mapping[str, object]:
        return {"suggestions": list(self.suggestions)}


class UnknownZoo(NotInCatalog):
    slug = "unknown-zoo"
    title = "Unknown zoo"


class UnknownName(NotInCatalog):
    """A zoo has no such name; ``suggestions`` are references, nearest first."""


class NameWithoutWeights(NotInCatalog):
    """The zoo knows the name and never published weights for it."""

    slug = "name-without-weights"
    title = "Name without weights"


class UnreadablePackage(ZooproxyError):
    """A wheel, or an installed package, that does not hold what the catalog is made from."""

    slug = "unreadable-package"
    title = "Package cannot be read"


class UnreadableConfig(ZooproxyError):
    slug = "unreadable-config"
    title = "Config cannot be read"


# -- sources ----------------------------------------------------------------------------------------------


class SourceError(ZooproxyError):
    slug = "source"
    title = "Source refused"


class UnsupportedSource(SourceError):
    slug = "unsupported-source"
    title = "Source not supported"


class HostNotAllowed(SourceError):
    slug = "host-not-allowed"
    title = "Host not allowed"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the host '{host}' is not among the hosts this proxy may fetch from; an operator can add it to ALLOW_HOSTS"
        )
        self.host = host

    @property
    def extras(self) -> Mapping[str, object]:
        return {"host": self.host}


class HostDenied(SourceError):
    slug = "host-denied"
    title = "Host denied"

    def __init__(self, host: str) -> None:
        super().__init__(f"this proxy fetches nothing from the host '{host}': its operator's DENY_HOSTS has it")
        self.host = host

    @property
    def extras(self) -> Mapping[str, object]:
        return {"host": self.host, "list": "DENY_HOSTS"}


class NameDenied(SourceError):
    """``rule`` is the setting that says so: ``ALLOW_NAMES`` or ``DENY_NAMES``."""

    slug = "name-denied"
    title = "Name denied"

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule

    @property
    def extras(self) -> Mapping[str, object]:
        return {"list": self.rule}


class Offline(SourceError):
    """``reference`` is what was asked for and is not held, as it was asked for."""

    slug = "offline"
    title = "Offline"

    def __init__(self, message: str, *, reference: Optional[str] = None) -> None:
        super().__init__(message)
        self.reference = reference

    @property
    def extras(self) -> Mapping[str, object]:
        return {} if self.reference is None else {"reference": self.reference}


class FetchError(ZooproxyError):
    """One candidate did not deliver; ``url`` is shown to anybody, and so without credentials."""

    slug = "upstream"
    title = "Upstream failed"

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = masked(url)

    @property
    def extras(self) -> Mapping[str, object]:
        return {"url": self.url}


class UpstreamUnreachable(FetchError):
    slug = "upstream-unreachable"
    title = "Upstream unreachable"


class UpstreamStatus(FetchError):
    """``retry_after`` in seconds; ``problem``: what another zooproxy said, which has tried as hard as we would."""

    slug = "upstream-status"
    title = "Upstream answered with an error"

    def __init__(
        self,
        message: str,
        *,
        url: str,
        status: int,
        retry_after: Optional[float] = None,
        problem: Optional[Mapping[str, object]] = None,
    ) -> None:
        super().__init__(message, url=url)
        self.status = status
        self.retry_after = retry_after
        self.problem = problem

    @property
    def verdict(self) -> bool:
        return self.problem is not None

    @property
    def extras(self) -> Mapping[str, object]:
        return {"url": self.url, "upstream_status": self.status}


class UpstreamTruncated(FetchError):
    """The body ended before its declared length (both in bytes)."""

    slug = "upstream-truncated"
    title = "Upstream body cut short"

    def __init__(self, message: str, *, url: str, expected: Optional[int], received: int) -> None:
        super().__init__(message, url=url)
        self.expected = expected
        self.received = received

    @property
    def extras(self) -> Mapping[str, object]:
        return {"url": self.url, "expected_bytes": self.expected, "received_bytes": self.received}


class UpstreamStalled(FetchError):
    """The body came more slowly than a transfer may, or not at all for too long."""

    slug = "upstream-stalled"
    title = "Upstream too slow"


class UpstreamTooLarge(FetchError):
    slug = "upstream-too-large"
    title = "Upstream file too large"


class UpstreamResting(FetchError):
    """The host failed so often that it is left alone for ``retry_after`` seconds."""

    slug = "upstream-resting"
    title = "Upstream left alone"

    def __init__(self, message: str, *, url: str, retry_after: float) -> None:
        super().__init__(message, url=url)
        self.retry_after = retry_after

    @property
    def extras(self) -> Mapping[str, object]:
        return {"url": self.url, "retry_after_seconds": round(self.retry_after, 1)}


class RangeNotBelieved(FetchError):
    """An answer to a range that is not the range asked for: nothing of it is joined to anything."""

    slug = "range-not-believed"
    title = "Upstream range not believed"


class AddressRefused(FetchError):
    """The host's name leads to an address inside the network."""

    slug = "address-refused"
    title = "Address refused"


class FillCancelled(FetchError):
    slug = "fill-cancelled"
    title = "Fill cancelled"


class UpstreamEncoded(FetchError):
    slug = "upstream-encoded"
    title = "Upstream body encoded"


class RedirectRefused(FetchError):
    slug = "redirect-refused"
    title = "Redirect refused"


class UnknownFill(ZooproxyError):
    slug = "unknown-fill"
    title = "Unknown fill"


# -- proof ------------------------------------------------------------------------------------------------


class ProofError(ZooproxyError):
    slug = "proof"
    title = "Bytes not believed"


class DigestMismatch(ProofError):
    """``expected`` is a full sha256 or a hint (its first digits), ``actual`` the full sha256 of what arrived."""

    slug = "digest-mismatch"
    title = "Digest mismatch"

    def __init__(self, message: str, *, expected: str, actual: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual

    @property
    def extras(self) -> Mapping[str, object]:
        return {"expected_sha256": self.expected, "actual_sha256": self.actual}


class SourceChanged(DigestMismatch):
    """The source delivers other bytes than it did when it was first seen, and nothing says which ones are right."""

    slug = "source-changed"
    title = "Source changed"


class NotACheckpoint(ProofError):
    slug = "not-a-checkpoint"
    title = "Not a checkpoint"


# -- formats ----------------------------------------------------------------------------------------------


class FormatError(ZooproxyError):
    slug = "format"
    title = "Checkpoint cannot be read"


class MalformedCheckpoint(FormatError):
    slug = "malformed-checkpoint"
    title = "Malformed checkpoint"


class LimitExceeded(FormatError):
    """The file asks for more than any honest checkpoint does; the message names the limit and its value."""

    slug = "limit-exceeded"
    title = "Limit exceeded"


class UnsupportedFormat(FormatError):
    """Well formed as far as read, but this version cannot serve it in the form asked for; raw can be had."""

    slug = "unsupported-format"
    title = "Format not supported"


class NothingSelected(FormatError):
    """A prefix or a recipe that leaves no tensor."""

    slug = "nothing-selected"
    title = "Nothing selected"

    def __init__(self, message: str, *, prefixes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.prefixes = tuple(prefixes)

    @property
    def extras(self) -> Mapping[str, object]:
        return {"prefixes": list(self.prefixes)}


# -- cache ------------------------------------------------------------------------------------------------


class CacheError(ZooproxyError):
    slug = "cache"
    title = "Cache failed"


class BlobAbsent(CacheError):
    slug = "blob-absent"
    title = "Blob not held"


class BlobCorrupt(CacheError):
    slug = "blob-corrupt"
    title = "Blob corrupt"


class SidecarMalformed(CacheError):
    slug = "sidecar-malformed"
    title = "Sidecar malformed"


class DatabaseTooNew(CacheError):
    slug = "database-too-new"
    title = "Database newer than this zooproxy"


class DatabaseDamaged(CacheError):
    """SQLite cannot read its file; ``how`` is what it says of it."""

    slug = "database-damaged"
    title = "Database damaged"

    def __init__(self, message: str, *, how: str) -> None:
        super().__init__(message)
        self.how = how


class AlreadyAtWork(CacheError):
    """Another process, or another task of this one, is busy with the same."""

    slug = "already-at-work"
    title = "Already at work"


class LeaseLost(CacheError):
    """Another process has taken a fill over from one that gave no sign of life; what the old one does is refused."""

    slug = "lease-lost"
    title = "Lease lost"


class BlobPinned(CacheError):
    slug = "blob-pinned"
    title = "Blob pinned"


class BlobInUse(CacheError):
    """It is being read or published at the moment."""

    slug = "blob-in-use"
    title = "Blob in use"


class BlobLeft(CacheError):
    """It was removed between the look-up and the reply; whoever asks again has it fetched."""

    slug = "blob-left"
    title = "Blob left"


class OutOfSpace(CacheError):
    """There is no room; where they are known, bytes: ``needed``, ``free``, held but ``pinned``, held but ``in_use``."""

    slug = "out-of-space"
    title = "Out of space"

    def __init__(
        self, message: str, *, needed: Optional[int] = None, free: int = 0, pinned: int = 0, in_use: int = 0
    ) -> None:
        super().__init__(message)
        self.needed = needed
        self.free = free
        self.pinned = pinned
        self.in_use = in_use

    @property
    def extras(self) -> Mapping[str, object]:
        if self.needed is None:
            return {}
        held = {"pinned_bytes": self.pinned, "in_use_bytes": self.in_use}
        return {"needed_bytes": self.needed, "free_bytes": self.free, **held}


# -- publishing -------------------------------------------------------------------------------------------


class UploadError(ZooproxyError):
    """It broke off, or is no checkpoint."""

    slug = "upload"
    title = "Upload refused"


class UploadMismatch(UploadError, DigestMismatch):
    """What arrived is not what was announced."""

    slug = "upload-mismatch"
    title = "Upload is not what was announced"


class UploadTooLarge(UploadError):
    slug = "upload-too-large"
    title = "Upload too large"


class AlreadyPublished(UploadError):
    """``reference`` is a tag that has ``sha256``, and tags do not move."""

    slug = "already-published"
    title = "Already published"

    def __init__(self, message: str, *, reference: str, sha256: str) -> None:
        super().__init__(message)
        self.reference = reference
        self.sha256 = sha256

    @property
    def extras(self) -> Mapping[str, object]:
        return {"reference": self.reference, "sha256": self.sha256}


# -- weights.lock -----------------------------------------------------------------------------------------


class LockError(ZooproxyError):
    slug = "lock"
    title = "Lock file"


class MalformedLock(LockError):
    """A file that is no lock; the message names the line."""

    slug = "malformed-lock"
    title = "Lock file malformed"


class NotLocked(LockError):
    """``reference`` (or a source's URL, or a digest) is not what a lock file lists."""

    slug = "not-locked"
    title = "Not in the lock file"

    def __init__(self, message: str, *, reference: str) -> None:
        super().__init__(message)
        self.reference = reference

    @property
    def extras(self) -> Mapping[str, object]:
        return {"reference": self.reference}


class LockedOtherwise(NotLocked, DigestMismatch):
    """The lock file lists ``reference`` with the sha256 ``expected``; what there is has ``actual``."""

    def __init__(self, message: str, *, reference: str, expected: str, actual: str) -> None:
        DigestMismatch.__init__(self, message, expected=expected, actual=actual)
        self.reference = reference

    @property
    def extras(self) -> Mapping[str, object]:
        return {"reference": self.reference, "expected_sha256": self.expected, "actual_sha256": self.actual}


# -- bundles ----------------------------------------------------------------------------------------------


class BundleError(ZooproxyError):
    slug = "bundle"
    title = "Bundle failed"


class MalformedBundle(BundleError):
    slug = "malformed-bundle"
    title = "Malformed bundle"


class BundleIncomplete(BundleError):
    """A part of it, or a bundle that it builds on, is missing."""

    slug = "bundle-incomplete"
    title = "Bundle incomplete"


class BundleConflict(BundleError):
    """It contradicts what is trusted here; ``conflicts`` say so one by one, each with both digests or both targets."""

    slug = "bundle-conflict"
    title = "Bundle contradicts what is trusted here"

    def __init__(self, message: str, *, conflicts: Sequence[str]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)

    @property
    def extras(self) -> Mapping[str, object]:
        return {"conflicts": list(self.conflicts)}


class SignatureRefused(BundleError):
    slug = "signature-refused"
    title = "Signature refused"


# -- set-up and clients -----------------------------------------------------------------------------------


class SettingsError(ZooproxyError):
    slug = "settings"
    title = "Settings refused"


class TooBusy(ZooproxyError):
    """``retry_after`` in seconds."""

    slug = "too-busy"
    title = "Too busy"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(ZooproxyError):
    slug = "not-ready"
    title = "Not ready"


class ClientError(ZooproxyError):
    slug = "client"
    title = "Client error"


class ProxyNotConfigured(ClientError):
    slug = "proxy-not-configured"
    title = "No proxy configured"


class ProxyUnreachable(ClientError):
    slug = "proxy-unreachable"
    title = "Proxy unreachable"


class ProxyRefused(ClientError):
    """The proxy's own verdict: ``problem`` is its problem slug, ``status`` the HTTP status, ``details`` its members."""

    slug = "proxy-refused"
    title = "Proxy refused"

    def __init__(
        self, message: str, *, problem: str, status: int, details: Optional[Mapping[str, object]] = None
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.status = status
        self.details = dict(details or {})


class NameRefused(ProxyRefused, KeyError):
    """The proxy knows no such name, or no weights of it; mmengine raises a KeyError."""

    __str__ = Exception.__str__  # KeyError's own shows a repr


class TransferCorrupt(ClientError):
    slug = "transfer-corrupt"
    title = "Transfer corrupt"
