"""The tables of the index, as they stand after every migration (a test compares the two).

A row says that something *is there*: rows are written last and removed first, so none has a state of being on its way.
A source is ``held`` when it has a row here and ``absent`` when it has none; the blob it names was durable before the
row was written. A blob's life (``cache.departures.Life``) is told by the table that its digest is in: ``held`` in
``blobs``, ``leaving`` in ``departures``, ``gone`` in neither. Times are integer microseconds since 1970-01-01 UTC: they
sort, compare and subtract alike in every database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

metadata = MetaData()

#: ``verified_at``: when the bytes were last read from the disk and hashed; none if they never were since they came.
blobs = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger),
    CheckConstraint("length(sha256) = 64", name="blobs_sha256_is_whole"),
    CheckConstraint("size >= 0", name="blobs_size_is_not_negative"),
)

sources = Table(
    "sources",
    metadata,
    Column("url", Text, primary_key=True),
    Column("sha256", String(64), ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("filled_at", BigInteger, nullable=False),
)

#: ``count`` and ``last_at`` tell of uses, for people; the lowest ``priority`` leaves first. Written by ``cache.uses``.
uses = Table(
    "uses",
    metadata,
    Column("sha256", String(64), ForeignKey("blobs.sha256"), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_at", BigInteger),
    Column("priority", Float, nullable=False, index=True),
)

#: Sources whose blobs are never evicted, held or not; ``ref`` is what the operator called it.
cache_pins = Table(
    "cache_pins",
    metadata,
    Column("url", Text, primary_key=True),
    Column("ref", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
)

#: Blobs on their way out: no other table knows them any more, and the file may still be there.
departures = Table(
    "departures",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
)

tensor_indexes = Table(
    "tensor_indexes",
    metadata,
    Column("sha256", String(64), ForeignKey("blobs.sha256"), primary_key=True),
    Column("reader_version", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
)

#: ``details`` is a JSON object in UTF-8: what the administrator said about the checkpoint.
site_names = Table(
    "site_names",
    metadata,
    Column("zoo", String(64), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("sha256", String(64)),
    Column("details", LargeBinary, nullable=False),
    Column("put_at", BigInteger, nullable=False),
    CheckConstraint("length(sha256) = 64", name="site_names_sha256_is_whole"),
)

#: Who fetches what (``owner`` and ``fence``), and what is there of it (``partial`` and whose bytes those are). A row
#: without an owner is a transfer that stopped and may be continued. ``cache.leases`` is the only reader and writer.
fills = Table(
    "fills",
    metadata,
    Column("url", Text, primary_key=True),
    Column("owner", String(32)),
    Column("fence", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("partial", String(32)),
    Column("candidate", Text),
    Column("length", BigInteger),
    Column("etag", Text),
    Column("modified", Text),
    Column("resumable", Boolean, nullable=False),
    Column("durable", BigInteger, nullable=False),
    Column("boot", String(36), nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
)

#: The digest that a source was first seen with, or that an operator accepted (``accepted_at``); ``refused_sha256`` is
#: what it delivered against that, until it delivers what is trusted.
trust = Table(
    "trust",
    metadata,
    Column("url", Text, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("accepted_at", BigInteger),
    Column("refused_sha256", String(64)),
    Column("refused_at", BigInteger),
    CheckConstraint("length(sha256) = 64", name="trust_sha256_is_whole"),
)

#: Who may call what. ``zoos`` are names with a space between them, null for no limit; of the secret there is a hash. A
#: row outlives its revocation: what was done with the token can still be traced to it.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("zoos", Text),
    Column("note", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("used_at", BigInteger),
    CheckConstraint("length(secret_sha256) = 64", name="tokens_secret_sha256_is_whole"),
)

#: What an upstream said of a source when it was last asked (``cache.sightings``); ``candidates`` is a JSON object.
sightings = Table(
    "sightings",
    metadata,
    Column("url", Text, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("candidate", Text),
    Column("length", BigInteger),
    Column("etag", Text),
    Column("modified", Text),
    Column("detail", Text, nullable=False),
    Column("candidates", Text, nullable=False),
)

#: What is known of the hosts that sources come from (``cache.hosts``); ``addresses`` is a JSON array.
hosts = Table(
    "hosts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("addresses", Text, nullable=False),
    Column("addresses_since", BigInteger, nullable=False),
    Column("certificate_ends", BigInteger),
    Column("problem", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
)

#: All that leads to a blob, and its own row, in the order in which the rows can go.
OF_A_BLOB = (tensor_indexes, sources, uses, blobs)


def microseconds(time: datetime) -> int:
    """As a column has it."""
    return (time - _EPOCH) // _MICROSECOND


def moment(column: int) -> datetime:
    """What a column says, in UTC."""
    return _EPOCH + column * _MICROSECOND
