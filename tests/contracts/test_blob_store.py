"""What every blob store promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from zooproxy.cache.blobs import BLOCK_BYTES, SIDECAR_BYTES, BlobStore, Change, HeldBlob, StagedBlob, Stored
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError, DigestMismatch, NotACheckpoint

CONTENT = b"some weights"
DIGEST = Sha256.of(CONTENT)
OTHER = Sha256.of(b"other weights")


async def put(store: BlobStore, content: bytes) -> HeldBlob:
    async with await store.stage() as staged:
        await staged.write(content)
        return await staged.commit()


async def read(blob: HeldBlob, start: int, length: int) -> bytes:
    return b"".join([block async for block in blob.chunks(start, length)])


async def is_held(store: BlobStore, digest: Sha256) -> bool:
    try:
        await store.open(digest)
    except BlobAbsent:
        return False
    return True


async def test_commit_returns_what_open_finds(store: BlobStore) -> None:
    committed = await put(store, CONTENT)
    opened = await store.open(DIGEST)
    assert (committed.digest, committed.size) == (opened.digest, opened.size) == (DIGEST, len(CONTENT))
    assert await read(committed, 0, len(CONTENT)) == await read(opened, 0, len(CONTENT)) == CONTENT


async def test_path_when_there_is_one_is_the_blob_itself(store: BlobStore) -> None:
    blob = await put(store, CONTENT)
    assert blob.path is None or blob.path.read_bytes() == CONTENT


async def test_commit_of_no_bytes_holds_the_empty_blob(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.commit()
    blob = await store.open(Sha256.of(b""))
    assert (blob.size, await read(blob, 0, 0)) == (0, b"")


async def test_staged_bytes_are_invisible_until_committed(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        assert not await is_held(store, DIGEST)
        await staged.commit()
        assert await is_held(store, DIGEST)


async def test_size_and_digest_follow_the_bytes_written(store: BlobStore) -> None:
    async with await store.stage() as staged:
        assert (staged.size, await staged.digest()) == (0, Sha256.of(b""))
        await staged.write(CONTENT[:5])
        await staged.write(memoryview(CONTENT)[5:])
        assert (staged.size, await staged.digest()) == (len(CONTENT), DIGEST)


async def test_staged_file_reads_the_bytes_so_far_and_cannot_write(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        with staged.file() as first, staged.file() as second:
            assert first.read() == second.read() == CONTENT
            assert not first.writable()
        await staged.write(b"!")
        assert (await staged.commit()).digest == Sha256.of(CONTENT + b"!")


async def test_writes_begun_at_once_land_in_the_order_they_were_begun(store: BlobStore) -> None:
    pieces = [bytes([number]) * 4096 for number in range(64)]
    async with await store.stage() as staged:
        await asyncio.gather(*(staged.write(piece) for piece in pieces))
        assert await staged.digest() == Sha256.of(b"".join(pieces))


async def test_leaving_without_commit_discards(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
    assert not await is_held(store, DIGEST)
    assert await store.sweep() == 0


async def test_leaving_by_an_error_discards(store: BlobStore) -> None:
    async def fill() -> None:
        async with await store.stage() as staged:
            await staged.write(CONTENT)
            raise RuntimeError("upstream went away")

    with pytest.raises(RuntimeError, match="upstream went away"):
        await fill()
    assert not await is_held(store, DIGEST)
    assert await store.sweep() == 0


async def test_leaving_by_cancellation_discards(store: BlobStore) -> None:
    written = asyncio.Event()

    async def fill() -> None:
        async with await store.stage() as staged:
            await staged.write(CONTENT)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(fill())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await is_held(store, DIGEST)
    assert await store.sweep() == 0


async def test_commit_of_unexpected_bytes_publishes_nothing(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        with pytest.raises(DigestMismatch) as refusal:
            await staged.commit(expected=OTHER)
    assert (refusal.value.expected, refusal.value.actual) == (OTHER, DIGEST)
    assert not await is_held(store, DIGEST)
    assert not await is_held(store, OTHER)
    assert await store.sweep() == 0


async def test_commit_of_expected_bytes_publishes_them(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        assert (await staged.commit(expected=DIGEST)).digest == DIGEST


async def test_discard_may_be_repeated_and_spares_what_was_committed(store: BlobStore) -> None:
    dropped = await store.stage()
    await dropped.discard()
    await dropped.discard()
    kept = await store.stage()
    await kept.write(CONTENT)
    await kept.commit()
    await kept.discard()
    assert await is_held(store, DIGEST)


@pytest.mark.parametrize("call", [lambda staged: staged.write(b"more"), lambda staged: staged.commit()])
async def test_calls_after_the_end_are_refused(store: BlobStore, call: Callable[[StagedBlob], object]) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        await staged.commit()
        with pytest.raises(CacheError):
            await call(staged)  # type: ignore[misc]
        with pytest.raises(CacheError):
            staged.file()
    assert await read(await store.open(DIGEST), 0, len(CONTENT)) == CONTENT


async def test_same_blob_committed_twice_at_once_is_held_once(store: BlobStore) -> None:
    blobs = await asyncio.gather(*(put(store, CONTENT) for _ in range(8)))
    assert {(blob.digest, blob.size) for blob in blobs} == {(DIGEST, len(CONTENT))}
    assert await read(blobs[0], 0, len(CONTENT)) == CONTENT
    assert await store.sweep() == 0
    assert await store.remove(DIGEST)
    assert not await is_held(store, DIGEST)


async def test_twenty_blobs_written_at_once_are_all_held(store: BlobStore) -> None:
    contents = [f"weights {number}".encode() for number in range(20)]
    await asyncio.gather(*(put(store, content) for content in contents))
    for content in contents:
        assert await read(await store.open(Sha256.of(content)), 0, len(content)) == content


@pytest.mark.parametrize(("start", "length"), [(0, 12), (0, 4), (5, 7), (11, 1), (12, 0), (0, 0)])
async def test_chunks_yield_exactly_the_range(store: BlobStore, start: int, length: int) -> None:
    assert await read(await put(store, CONTENT), start, length) == CONTENT[start : start + length]


async def test_chunks_of_a_large_range_are_bounded(store: BlobStore) -> None:
    content = bytes(range(256)) * (10 * BLOCK_BYTES // 1024)
    blob = await put(store, content)
    blocks = [block async for block in blob.chunks(100, len(content) - 100)]
    assert max(map(len, blocks)) <= BLOCK_BYTES
    assert b"".join(blocks) == content[100:]


@pytest.mark.parametrize(("start", "length"), [(-1, 3), (0, 13), (12, 1), (3, -1)])
async def test_chunks_outside_the_blob_are_refused(store: BlobStore, start: int, length: int) -> None:
    blob = await put(store, CONTENT)
    with pytest.raises(ValueError, match="do not lie within"):
        await read(blob, start, length)


async def test_files_of_one_blob_are_independent(store: BlobStore) -> None:
    blob = await put(store, CONTENT)
    with blob.file() as first, blob.file() as second:
        assert first.read(4) == CONTENT[:4]
        assert second.read() == CONTENT


async def test_open_of_a_blob_never_committed_is_absent(store: BlobStore) -> None:
    with pytest.raises(BlobAbsent, match=DIGEST):
        await store.open(DIGEST)


async def test_remove_says_whether_there_was_a_blob(store: BlobStore) -> None:
    assert not await store.remove(DIGEST)
    blob = await put(store, CONTENT)
    assert await store.remove(DIGEST)
    assert not await is_held(store, DIGEST)
    with pytest.raises(BlobAbsent):
        blob.file()
    await put(store, CONTENT)
    assert await is_held(store, DIGEST)


async def test_sweep_during_a_live_stage_spares_it(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        assert await store.sweep() == 0
        await staged.commit()
    assert await is_held(store, DIGEST)


async def test_what_was_kept_is_resumed_with_its_size_and_digest(store: BlobStore) -> None:
    first = await store.stage()
    await first.write(CONTENT[:5])
    await first.keep()
    async with await store.resume(first.name, 100, 100) as second:
        assert (second.name, second.size, await second.digest()) == (first.name, 5, Sha256.of(CONTENT[:5]))
        await second.write(CONTENT[5:])
        assert (await second.commit(expected=DIGEST)).size == len(CONTENT)
    with pytest.raises(BlobAbsent):
        await store.resume(first.name, 100, 100)


async def test_resume_believes_no_more_than_it_was_told_to(store: BlobStore) -> None:
    first = await store.stage()
    await first.write(CONTENT + b"lost in a power cut")
    await first.keep()
    async with await store.resume(first.name, len(CONTENT), 100) as second:
        assert await second.digest() == DIGEST
        await second.commit()


@pytest.mark.parametrize("name", ["0" * 32, "../blobs", "", "ABC"])
async def test_resume_and_peek_of_a_name_never_staged_are_absent(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobAbsent):
        await store.resume(name, 1, 1)
    with pytest.raises(BlobAbsent):
        await store.peek(name)


async def test_what_is_being_written_can_be_peeked_at_but_not_resumed(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        with await store.peek(staged.name) as file:
            assert file.read() == CONTENT
        with pytest.raises(BlobAbsent):
            await store.resume(staged.name, 100, 100)
        assert await store.is_written(staged.name)
    assert not await store.is_written(staged.name)


async def test_sweep_takes_what_was_kept_unless_it_is_named(store: BlobStore) -> None:
    staged = await store.stage()
    await staged.write(CONTENT)
    await staged.keep()
    assert await store.sweep({staged.name}) == 0
    assert await store.sweep() == 1
    with pytest.raises(BlobAbsent):
        await store.resume(staged.name, 100, 100)


async def test_there_is_room_in_a_store(store: BlobStore) -> None:
    assert store.free_bytes() > 0


async def listed(store: BlobStore) -> list[Stored]:
    return [one async for portion in store.listing() for one in portion]


async def test_sidecar_is_what_it_was_last_made(store: BlobStore) -> None:
    await put(store, CONTENT)
    assert await store.sidecar(DIGEST) is None
    await store.annotate(DIGEST, lambda before: b"first" if before is None else None)
    await store.annotate(DIGEST, lambda before: (before or b"") + b", second")
    await store.annotate(DIGEST, lambda before: None)
    assert await store.sidecar(DIGEST) == b"first, second"


async def test_sidecars_changed_at_once_lose_nothing(store: BlobStore) -> None:
    await put(store, CONTENT)
    letters = [bytes([letter]) for letter in b"abcdefghijklmnop"]

    def adding(letter: bytes) -> Change:
        return lambda before: (before or b"") + letter

    await asyncio.gather(*(store.annotate(DIGEST, adding(letter)) for letter in letters))
    assert sorted(await store.sidecar(DIGEST) or b"") == sorted(b"".join(letters))


async def test_sidecar_of_a_blob_that_is_not_there_cannot_be_made(store: BlobStore) -> None:
    with pytest.raises(BlobAbsent):
        await store.annotate(DIGEST, lambda before: b"a sidecar")
    assert await store.sidecar(DIGEST) is None


async def test_sidecar_without_an_end_is_read_no_further_than_one_may_be_long(store: BlobStore) -> None:
    await put(store, CONTENT)
    await store.annotate(DIGEST, lambda before: bytes(SIDECAR_BYTES + 100))
    assert len(await store.sidecar(DIGEST) or b"") > SIDECAR_BYTES


async def test_blob_committed_anew_keeps_its_sidecar(store: BlobStore) -> None:
    await put(store, CONTENT)
    await store.annotate(DIGEST, lambda before: b"a sidecar")
    await put(store, CONTENT)
    assert await store.sidecar(DIGEST) == b"a sidecar"


async def test_remove_takes_the_sidecar_along_even_where_only_that_is_left(store: BlobStore) -> None:
    blob = await put(store, CONTENT)
    await store.annotate(DIGEST, lambda before: b"a sidecar")
    assert await store.remove(blob.digest)
    assert await store.sidecar(DIGEST) is None
    assert await listed(store) == []


async def test_listing_tells_digests_sizes_and_sidecars_of_what_is_committed(store: BlobStore) -> None:
    assert await listed(store) == []
    contents = [CONTENT, b"other weights", b""]
    for content in contents:
        await put(store, content)
    await store.annotate(DIGEST, lambda before: b"a sidecar")
    async with await store.stage() as staged:
        await staged.write(b"not yet")
        found = await listed(store)
    assert [one.digest for one in found] == sorted(Sha256.of(content) for content in contents)
    assert {one.digest: one.size for one in found} == {Sha256.of(content): len(content) for content in contents}
    assert [one.digest for one in found if one.has_sidecar] == [DIGEST]


async def test_quarantined_blob_is_held_no_more_and_its_place_is_free(store: BlobStore) -> None:
    assert not await store.quarantine(DIGEST, b"there is none")
    for _ in range(2):
        await put(store, CONTENT)
        await store.annotate(DIGEST, lambda before: b"a sidecar")
        assert await store.quarantine(DIGEST, b"one bit was flipped")
        assert not await is_held(store, DIGEST)
        assert await store.sidecar(DIGEST) is None
        assert await listed(store) == []
    await put(store, CONTENT)
    assert await read(await store.open(DIGEST), 0, len(CONTENT)) == CONTENT


async def test_bytes_in_any_order_count_and_are_hashed_when_the_gap_before_them_is_closed(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.scatter(len(CONTENT))
        await staged.write(CONTENT[8:], 8)
        await staged.write(CONTENT[3:5], 3)
        assert (staged.size, await staged.digest()) == (0, Sha256.of(b""))
        await staged.write(CONTENT[:3], 0)
        assert (staged.size, await staged.digest()) == (5, Sha256.of(CONTENT[:5]))
        await staged.write(CONTENT[5:8], 5)
        with staged.file() as file:
            assert file.read() == CONTENT
        assert (await staged.commit(expected=DIGEST)).size == len(CONTENT)


async def test_trim_drops_what_lies_beyond_a_gap(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.scatter(len(CONTENT))
        await staged.write(CONTENT[:2], 0)
        await staged.write(b"wrong", 6)
        await staged.trim()
        await staged.write(CONTENT[2:])
        assert (await staged.commit()).digest == DIGEST


async def test_what_is_kept_in_the_middle_of_scattered_writes_ends_at_the_first_gap(store: BlobStore) -> None:
    first = await store.stage()
    await first.scatter(len(CONTENT))
    await first.write(CONTENT[6:], 6)
    await first.write(CONTENT[:4], 0)
    await first.keep()
    async with await store.resume(first.name, len(CONTENT), len(CONTENT)) as second:
        assert (second.size, await second.digest()) == (4, Sha256.of(CONTENT[:4]))


@pytest.mark.parametrize("at", [3, 100, len(CONTENT) - 1], ids=["not scattered", "beyond the end", "over the end"])
async def test_bytes_where_none_are_awaited_are_refused_and_end_the_staging(store: BlobStore, at: int) -> None:
    staged = await store.stage()
    if at != 3:
        await staged.scatter(len(CONTENT))
    with pytest.raises(CacheError, match="awaited"):
        await staged.write(b"xx", at)
    with pytest.raises(CacheError):
        await staged.write(b"xx")
    assert await store.sweep() == 0


async def test_claim_holds_what_nobody_uses_and_says_what_is_not_there(store: BlobStore) -> None:
    await put(store, CONTENT)
    async with store.claim([DIGEST, OTHER]) as claim:
        assert (set(claim.sizes), claim.busy) == ({DIGEST, OTHER}, frozenset())
        assert (claim.sizes[DIGEST] > 0, claim.sizes[OTHER]) == (True, 0)
        async with store.claim([DIGEST]) as second:
            assert (dict(second.sizes), second.busy) == ({}, {DIGEST})
    async with store.claim([DIGEST]) as claim:
        assert not claim.busy


async def test_blob_that_is_read_is_busy_until_its_file_is_closed_but_for_those_who_do_not_care(
    store: BlobStore,
) -> None:
    blob = await put(store, CONTENT)
    with blob.file() as first, blob.file() as second:
        first.close()
        async with store.claim([DIGEST]) as claim:
            assert claim.busy == {DIGEST}
        async with store.claim([DIGEST], read_too=True) as claim:
            assert set(claim.sizes) == {DIGEST}
            await store.remove(DIGEST)
        assert second.read() == CONTENT
    async with store.claim([DIGEST]) as claim:
        assert dict(claim.sizes) == {DIGEST: 0}


async def test_committed_blob_is_busy_until_its_stage_is_left(store: BlobStore) -> None:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        await staged.commit()
        async with store.claim([DIGEST], read_too=True) as claim:
            assert claim.busy == {DIGEST}
    async with store.claim([DIGEST]) as claim:
        assert not claim.busy


async def test_commit_of_a_claimed_blob_waits_until_the_claim_ends_and_is_held_then(store: BlobStore) -> None:
    await put(store, CONTENT)
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        async with store.claim([DIGEST]) as claim:
            assert not claim.busy
            committing = asyncio.create_task(staged.commit())
            assert not (await asyncio.wait([committing], timeout=0.05))[0]
            await store.remove(DIGEST)
        await committing
    assert await is_held(store, DIGEST)


async def test_commit_whose_caller_is_cancelled_lets_go_of_the_blob_all_the_same(store: BlobStore) -> None:
    async def fill() -> None:
        async with await store.stage() as staged:
            await staged.write(CONTENT)
            await staged.commit()

    async with store.claim([DIGEST]):
        task = asyncio.create_task(fill())
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(10):
        while True:
            async with store.claim([DIGEST]) as claim:
                if not claim.busy:
                    break
            await asyncio.sleep(0.01)


async def test_one_at_a_time_is_alone_with_a_kind_of_work(store: BlobStore) -> None:
    async with store.alone("sweeping", 1), store.alone("mopping", 1):
        with pytest.raises(CacheError, match="busy with the same"):
            async with store.alone("sweeping", 0.01):
                pass
    async with store.alone("sweeping", 1):
        pass


def any_bytes(digest: Sha256, file: BinaryIO, size: int) -> None:
    assert Sha256.of(file.read()) == digest


async def test_batch_is_unseen_until_it_is_committed_and_then_held_in_all_its_blobs(store: BlobStore) -> None:
    contents = [b"%d weights" % number for number in range(150)]
    batch = store.batch()
    with ThreadPoolExecutor(4) as threads:
        await asyncio.to_thread(
            lambda: list(threads.map(lambda one: batch.take([one[:3], one[3:]], any_bytes), contents))
        )
    assert await listed(store) == []
    assert await store.sweep() == 0
    held = await asyncio.to_thread(batch.commit)
    assert {digest: blob.size for digest, blob in held.items()} == {Sha256.of(one): len(one) for one in contents}
    for one in contents:
        assert await read(await store.open(Sha256.of(one)), 0, len(one)) == one
    assert await store.sweep() == 0


async def test_blob_of_a_batch_that_is_not_believed_or_breaks_off_is_dropped_and_the_others_stay(
    store: BlobStore,
) -> None:
    def refuse(digest: Sha256, file: BinaryIO, size: int) -> None:
        raise NotACheckpoint("an error page")

    def broken() -> Iterator[bytes]:
        yield b"some"
        raise CacheError("the end is missing")

    batch = store.batch()
    batch.take([CONTENT], any_bytes)
    with pytest.raises(NotACheckpoint):
        batch.take([b"other weights"], refuse)
    with pytest.raises(CacheError, match="the end is missing"):
        batch.take(broken(), any_bytes)
    assert list(batch.commit()) == [DIGEST]
    assert [one.digest for one in await listed(store)] == [DIGEST]


async def test_batch_that_was_ended_takes_nothing_more_and_a_discarded_one_leaves_nothing(store: BlobStore) -> None:
    for end in ("commit", "discard"):
        batch = store.batch()
        if end == "discard":
            batch.take([CONTENT], any_bytes)
        getattr(batch, end)()
        batch.discard()
        with pytest.raises(CacheError, match="already"):
            batch.take([CONTENT], any_bytes)
    assert await listed(store) == []
    assert await store.sweep() == 0


async def test_nobody_claims_what_is_being_published_whoever_brought_it(store: BlobStore) -> None:
    await put(store, CONTENT)
    async with store.publishing([DIGEST, OTHER]), store.publishing([DIGEST]), store.claim([DIGEST]) as claim:
        assert claim.busy == {DIGEST}
    async with store.claim([DIGEST]) as claim:
        assert not claim.busy


async def test_many_sidecars_are_changed_each_by_its_own_change(store: BlobStore) -> None:
    contents = [b"%d weights" % number for number in range(100)]
    for one in contents:
        await put(store, one)
    digests = [Sha256.of(one) for one in contents]
    await store.annotate_all({digest: lambda before, digest=digest: digest.encode() for digest in digests})  # type: ignore[misc]
    await store.annotate_all({digest: lambda before: (before or b"")[:8] for digest in digests[:50]})
    assert [await store.sidecar(digest) for digest in digests[:50]] == [digest[:8].encode() for digest in digests[:50]]
    assert [await store.sidecar(digest) for digest in digests[50:]] == [digest.encode() for digest in digests[50:]]


async def test_one_of_many_sidecars_whose_blob_is_not_there_is_told(store: BlobStore) -> None:
    await put(store, CONTENT)
    with pytest.raises(BlobAbsent, match=OTHER):
        await store.annotate_all(dict.fromkeys([DIGEST, OTHER], lambda before: b"a sidecar"))
