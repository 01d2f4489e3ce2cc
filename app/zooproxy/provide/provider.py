"""From a reference to what can be served. The one thing that routes, and later the CLI, talk to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.index import HeldSource
from zooproxy.cache.shelf import DERIVED, Shelf
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt, NameDenied, NotLocked, ZooproxyError
from zooproxy.fetch.proof import Wanted
from zooproxy.formats.forms import Form, needs_checksums, recast_of, rendition, selected
from zooproxy.formats.segments import Rendition
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.names.catalog import Catalog, Resolution
from zooproxy.names.reference import parse
from zooproxy.provide.derived import Derived
from zooproxy.provide.fill_reports import problem, report
from zooproxy.provide.fills import Fills
from zooproxy.provide.growing import Growing
from zooproxy.provide.name_rules import NameRules
from zooproxy.provide.names import Names
from zooproxy.provide.pins import Pins
from zooproxy.provide.publishing import Publishing
from zooproxy.provide.recent import Recent
from zooproxy.provide.rendition_digests import RenditionDigests
from zooproxy.provide.renditions import Key as RenditionKey
from zooproxy.provide.renditions import Renditions
from zooproxy.provide.revalidation import Revalidation
from zooproxy.provide.rounds import Rounds
from zooproxy.provide.stock import Stock
from zooproxy.provide.tensor_indexes import TensorIndexes, document_of
from zooproxy.wire import fills as fills_wire
from zooproxy.wire.answers import ABSENT, DENIED, FILLING, HELD, QUARANTINED, ResolveAnswer
from zooproxy.wire.fills import StartedAnswer
from zooproxy.wire.tensors import TensorIndex

_log = logging.getLogger(__name__)

_NO_BLOB = Sha256("0" * 64)

#: Bytes of tensor indexes kept as they were sent: every rank of every node asks for the same one.
_DOCUMENTS: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """What the cache has of a source: its blobs, its rows, what is read from them."""

    shelf: Shelf
    tensor_indexes: TensorIndexes
    derived: Derived
    stock: Stock
    revalidation: Revalidation
    rounds: Rounds


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be served: ``pins`` (and the lock file) by digest, ``names`` by name."""

    pins: Pins
    names: NameRules = NameRules()  # noqa: RUF009  # it never changes


class Provider:
    """``rules`` may be replaced while the service runs."""

    def __init__(self, names: Names, rules: Rules, held: Held, fills: Fills, publishing: Publishing) -> None:
        self.names = names
        self.rules = rules
        self.publishing = publishing
        self._held = held
        self.fills = fills
        self.stock = held.stock
        self.rounds = held.rounds
        self._renditions = Renditions()
        self._documents: Recent[RenditionKey, bytes] = Recent(_DOCUMENTS)
        self.rendition_digests = RenditionDigests()

    @property
    def catalog(self) -> Catalog:
        return self.names.catalog

    def resolution(self, ref: str) -> Resolution:
        """
        Raises:
            BadReference: the text is no reference.
            NotInCatalog: it leads nowhere; nearest references come along.
        """
        return self.catalog.resolve(parse(ref))

    async def explain(self, resolution: Resolution) -> ResolveAnswer:
        """What a reference means and what is held of it; fetches nothing."""
        url = resolution.source.url
        wanted, refusal = self.rules.pins.wanted(resolution), self._refusal(resolution)
        filling = self.fills.is_running(url)  # asked first: a fill that ends meanwhile has left a row
        held = await self._row(wanted)
        trusted = await self._held.shelf.index.trust.of(url)
        refused = trusted.refused if trusted and not wanted.pin else None
        state = HELD if held else FILLING if filling else ABSENT
        return ResolveAnswer(
            ref=resolution.reference,
            canonical=resolution.canonical,
            zoo=resolution.zoo,
            name=resolution.name,
            url=url,
            candidates=list(self.fills.candidates(url)),
            sha256_hint=resolution.source.sha256_hint,
            sha256=held.sha256 if held else wanted.pin or (trusted.sha256 if trusted else None),
            size=held.size if held else None,
            state=DENIED if isinstance(refusal, NameDenied) else QUARANTINED if refused else state,
            recipe=resolution.recipe,
            alias_of=resolution.alias_of,
            layer=resolution.layer,
            warnings=[*resolution.warnings, *([str(refusal)] if refusal else [])],
            metadata=resolution.metadata,
        )

    async def accept(self, resolution: Resolution, digest: Sha256) -> None:
        """An operator's word: the source's bytes are those with ``digest``. A pin of the settings still outranks it."""
        await self._held.shelf.accept(resolution.source.url, digest)
        _log.warning("accepted by an operator: %s is %s", resolution.source.url, digest)

    async def peek(self, resolution: Resolution) -> HeldBlob | None:
        """The source's blob if it is held; fetches nothing, and is no use of the blob."""
        wanted = self._wanted(resolution)
        held = await self._row(wanted)
        if held is None:
            return None
        self._held.revalidation.wake(wanted, held)
        return await self._opened(held)

    async def raw(self, resolution: Resolution) -> HeldBlob:
        """The source's blob: held, or filled first.

        Raises:
            SourceError, FetchError, ProofError, CacheError: it cannot be had.
        """
        blob = await self.peek(resolution)
        if blob is None:
            held = await self.fills.fill(self._wanted(resolution))
            blob = await self._held.shelf.store.open(held.sha256)
        self.used(blob.digest)
        return blob

    async def arriving(self, resolution: Resolution) -> HeldBlob | Growing:
        """As ``raw``, without waiting for a fill: what can be read while it grows.

        Where the last bytes were not believed the next ones are waited for: a stream could only be cut, and whoever
        asks (a proxy behind this one, say) is to learn why.
        """
        if self.fills.was_refused(resolution.source.url):
            return await self.raw(resolution)
        blob = await self.peek(resolution)
        if blob is None:
            growing = self.fills.follow(self._wanted(resolution))
            growing.when_done(lambda blob: self.used(blob.digest))
            return growing
        self.used(blob.digest)
        return blob

    def used(self, digest: Sha256) -> None:
        """Something of the blob is served."""
        self._held.shelf.index.uses.note(digest)

    async def warm(self, ref: str, check: Callable[[Resolution], None] = lambda _: None) -> StartedAnswer:
        """Begins what nobody waits for; what cannot be begun, or what ``check`` refuses, is told, not raised."""
        try:
            resolution = self.resolution(ref)
            check(resolution)
            held = await self._row(self._wanted(resolution))
            if held is not None:
                return StartedAnswer(ref, fills_wire.HELD, sha256=held.sha256)
            fill = report(self.fills.start(self._wanted(resolution), urgent=False, ref=resolution.reference))
        except ZooproxyError as error:
            return StartedAnswer(ref, fills_wire.REFUSED, error=problem(error))
        return StartedAnswer(ref, fill.state, fill)

    async def is_held(self, resolution: Resolution) -> bool:
        """Whether ``raw`` would answer without a fill, with a blob or with a refusal."""
        return self.fills.was_refused(resolution.source.url) or await self.peek(resolution) is not None

    def is_filling(self, resolution: Resolution) -> bool:
        return self.fills.is_running(resolution.source.url)

    async def blob(self, digest: Sha256) -> HeldBlob:
        """A blob by its digest; no use of it.

        Raises:
            NameDenied: it is the file of names that the operator's rules do not let be served.
            NotLocked: no entry of the lock file has this digest, and it was not made of a blob that one has.
            BlobAbsent: nothing published has this digest.
        """
        if not self.rules.pins.covers(digest) and not any(
            map(self.rules.pins.covers, await self._held.derived.made_of(digest))
        ):
            raise NotLocked("this proxy serves nothing but what is in its lock file, and this is not", reference=digest)
        if self.rules.names.are_any:
            await self._check_rules(digest)
        if await self._held.shelf.index.blob(digest) is None:
            raise BlobAbsent(f"no blob {digest} is held; ask for its reference to bring it in")
        return await self._held.shelf.store.open(digest)

    async def published_elsewhere(self, digest: Sha256) -> Resolution | None:
        """A name of a published file with this digest that is not held: a proxy behind this one asks for it so."""
        if await self._held.shelf.index.blob(digest) is not None:
            return None
        return self.names.published(digest)

    async def sources_of(self, digest: Sha256) -> tuple[str, ...]:
        """The URLs from which a blob came, or those that it was made of."""
        index, made_of = self._held.shelf.index, await self._held.derived.made_of(digest)
        return tuple([url for one in (digest, *made_of) for url in await index.urls_of(one)])

    async def _check_rules(self, digest: Sha256) -> None:
        urls = await self.sources_of(digest)
        judged = [self.rules.names.refusal_of_url(self.catalog, url) for url in urls if not url.startswith(DERIVED)]
        refusals = [refusal for refusal in judged if refusal is not None]
        if refusals and len(refusals) == len(judged):
            raise refusals[0]

    async def tensors(self, resolution: Resolution, form: Form, *, proven: bool = False) -> bytes:
        """The tensor index of a variant, recipe and prefix applied, ranges into the blob: the JSON of it.

        Digests that are not known yet are waited for if it is to be ``proven``, else left out.

        Raises:
            FormatError: the blob cannot be read, nothing is left of it, or it has a tensor that no range describes.
        """
        blob = await self.raw(resolution)
        key = (blob.digest, form, resolution.recipe)
        kept = self._documents.get(key)
        if kept is not None:
            return kept
        index = await self._described(blob, resolution, form, proven=proven)
        document = await asyncio.to_thread(document_of, index)
        # A derived blob may be evicted: whoever asks again makes it again.
        if index.blob == blob.digest and index.is_proven:
            self._documents.put(key, document, len(document))
        return document

    async def _described(self, blob: HeldBlob, resolution: Resolution, form: Form, *, proven: bool) -> TensorIndex:
        part = await self._selected(blob, resolution, form, proven=proven)
        await asyncio.to_thread(refuse_odd_tensors, part, but_described=True)
        recast = recast_of(part, form, as_file=False)
        return part if recast is None else (await self._held.derived.of(blob, part, recast))[1]

    async def rendered(self, blob: HeldBlob, resolution: Resolution, form: Form) -> tuple[HeldBlob, Rendition]:
        """A variant of the source's ``blob`` in a format: segments over it, or over one derived from it.

        Of a whole blob, never of one that is still arriving, although that could be made to begin: torch's writer puts
        the pickle first, the storages follow in its order, and their places could be told from the local headers as
        those pass. But all of it would be a guess until the end. The directory, which decides what each entry is
        called and where it lies, comes last, and two readers of one archive need not agree; the checksums are in it,
        too. A reply of bytes could be guarded as a raw one is: hold back its tail, read the index again from the proven
        file, break off where the two differ. A tensor index could not: it is one small answer, it names the blob's
        digest and those of its storages, by which the client checks what it receives, and none of them is known
        before the last byte. So the clients that matter would gain nothing, and there would be a second reader of
        archives, which is wrong in other ways than the first. What it would save is one pass over the cluster's own
        network after the download (``python -m benchmarks fills``, cold model against cold raw).

        Raises:
            FormatError: as ``tensors``; or a tensor that the format cannot express.
        """
        key = (blob.digest, form, resolution.recipe)
        composed = self._renditions.get(key)
        if composed is not None:
            return blob, composed
        part = await self._selected(blob, resolution, form)
        recast = recast_of(part, form)
        if recast is not None:
            blob, part = await self._held.derived.of(blob, part, recast)
            return blob, await asyncio.to_thread(rendition, part, form)
        if needs_checksums(part, form):
            part = await self._selected(blob, resolution, form, proven=True)
        composed = await asyncio.to_thread(rendition, part, form)
        self._renditions.put(key, composed)
        return blob, composed

    async def ready(self) -> None:
        """Reads from the database and writes to the store: what every request and every fill will need.

        Raises:
            CacheError: one of them cannot be used.
        """
        await self._held.shelf.index.blob(_NO_BLOB)
        async with await self._held.shelf.store.stage() as staged:
            await staged.write(b"ready?")

    async def _selected(
        self, blob: HeldBlob, resolution: Resolution, form: Form, *, proven: bool = False
    ) -> TensorIndex:
        indexes = self._held.tensor_indexes
        read = await (indexes.proven(blob) if proven else indexes.of(blob))
        return await asyncio.to_thread(selected, read, form, resolution.recipe)

    def _wanted(self, resolution: Resolution) -> Wanted:
        """
        Raises:
            NameDenied: the operator's rules do not let it be served.
            NotLocked: there is a lock file, and it does not list the source.
        """
        refusal = self._refusal(resolution)
        if refusal is not None:
            raise refusal
        return self.rules.pins.wanted(resolution)

    def _refusal(self, resolution: Resolution) -> NameDenied | NotLocked | None:
        return self.rules.names.refusal(self.catalog, resolution) or self.rules.pins.refusal(resolution)

    async def _row(self, wanted: Wanted) -> HeldSource | None:
        """The row of what is held, if its digest is still what is wanted: pins may have changed since."""
        held = await self._held.shelf.index.held(wanted.url)
        return held if held and wanted.accepts(held.sha256) else None

    async def _opened(self, held: HeldSource) -> HeldBlob | None:
        """The row's blob. One that is gone or has another length is forgotten, so that the next step fills it again."""
        try:
            blob = await self._held.shelf.store.open(held.sha256)
            if blob.size == held.size:
                return blob
            _log.error("blob %s has %d bytes, not %d: it is fetched again", held.sha256, blob.size, held.size)
        except (BlobAbsent, BlobCorrupt) as error:
            _log.error("%s: it is fetched again", error)
        await self.stock.drop_damaged(held)
        return None
