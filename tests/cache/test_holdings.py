from __future__ import annotations

from zooproxy.cache.database import Database
from zooproxy.cache.holdings import Holdings
from zooproxy.cache.index import Index
from zooproxy.digest import Sha256

A, B = Sha256("aa" * 32), Sha256("ab" * 32)


async def test_holdings_are_the_urls_that_were_filled(database: Database) -> None:
    index, holdings = Index(database), Holdings(database)
    assert await holdings.urls() == frozenset()
    for url, digest in (("https://h/2", A), ("https://h/1", A), ("https://h/3", B)):
        await index.publish(url, digest, 7)

    assert await holdings.urls() == {"https://h/1", "https://h/2", "https://h/3"}
    assert await holdings.among(["https://h/1", "https://h/9"]) == {"https://h/1"}
    assert await holdings.among([]) == frozenset()


async def test_holdings_of_a_digest_are_found_by_its_first_digits(database: Database) -> None:
    index, holdings = Index(database), Holdings(database)
    for url, digest in (("https://h/2", A), ("https://h/1", A), ("https://h/3", B)):
        await index.publish(url, digest, 7)

    assert await holdings.of_digest("aa" * 4) == ("https://h/1", "https://h/2")
    assert await holdings.of_digest(str(B)) == ("https://h/3",)
    assert await holdings.of_digest("ff" * 4) == ()
