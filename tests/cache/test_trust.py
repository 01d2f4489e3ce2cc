"""What a source was first seen with, and an operator's word."""

from __future__ import annotations

from zooproxy.cache.database import Database
from zooproxy.cache.index import Index
from zooproxy.cache.trust import Trusted
from zooproxy.digest import Sha256

URL = "https://zoo.example/x.pth"
FIRST, OTHER = Sha256.of(b"first"), Sha256.of(b"other")


def told(trusted: Trusted | None) -> tuple[Sha256, bool, Sha256 | None]:
    """What is trusted, whether an operator said so, what was refused."""
    assert trusted is not None
    assert trusted.url == URL
    return trusted.sha256, trusted.accepted_at is not None, trusted.refused


async def test_what_is_published_first_is_trusted_and_outlives_its_blob(database: Database) -> None:
    index = Index(database)
    assert await index.trust.of(URL) is None
    await index.publish(URL, FIRST, 5)
    await index.forget(FIRST)
    assert told(await index.trust.of(URL)) == (FIRST, False, None)


async def test_what_was_refused_is_told_until_the_source_delivers_what_is_trusted(database: Database) -> None:
    index = Index(database)
    await index.publish(URL, FIRST, 5)
    await index.trust.refuse(URL, OTHER)
    assert told(await index.trust.of(URL)) == (FIRST, False, OTHER)
    await index.publish(URL, FIRST, 5)
    assert told(await index.trust.of(URL)) == (FIRST, False, None)


async def test_an_operators_word_replaces_what_was_seen_and_lets_go_of_what_is_held(database: Database) -> None:
    index = Index(database)
    await index.publish(URL, FIRST, 5)
    await index.trust.refuse(URL, OTHER)
    await index.trust.accept(URL, OTHER)
    assert told(await index.trust.of(URL)) == (OTHER, True, None)
    assert await index.held(URL) is None
    assert await index.blob(FIRST) == 5


async def test_an_operators_word_may_come_before_the_source_was_ever_seen(database: Database) -> None:
    index = Index(database)
    await index.trust.accept(URL, OTHER)
    assert told(await index.trust.of(URL)) == (OTHER, True, None)
