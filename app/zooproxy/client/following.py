"""What a proxy does not hold yet: received while the proxy receives it, and described once it is there.

A tensor index needs the whole file. Whoever waited for it would download after the proxy has downloaded, one after the
other. So the published file itself is followed while the proxy fetches it (which holds back its end until the whole is
proven), into the node's store; the index then says where its tensors lie, and its digest of the file is compared with
that of the bytes that came. One process of a node follows; the others wait for it.

With a prefix nothing is followed: all of the file would be moved for a part of it. Nor is without a store: memory
would hold all of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Optional

from zooproxy.client.chain import Route
from zooproxy.client.description import Description, described
from zooproxy.client.node_store import NodeStore, held_alone, partial_file
from zooproxy.client.progress import Progress
from zooproxy.client.receiving import key_of_whole
from zooproxy.client.transport import Connection, NotYet
from zooproxy.digest import Hasher, Sha256
from zooproxy.names.lock import Locked
from zooproxy.wire import routes
from zooproxy.wire.answers import FILLING

_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Asking:
    """A question for the tensor index: ``query`` is that of ``GET /v1/tensors``."""

    route: Route
    query: dict[str, str]
    locked: Optional[Locked]
    progress: bool

    def description(self) -> Description:
        """The answer; where the proxy had to fetch the file first, the node's store then has all of it.

        Raises:
            DirectReached, LockedOtherwise, ClientError, FormatError: see ``described``.
        """
        folder = self.route.settings.folder
        if folder is None or "prefix" in self.query:
            return self._asked()
        return self._asked_at_once() or self._followed(folder)

    def _asked(self) -> Description:
        return self.route.do(lambda proxy: described(proxy, self.query, self.locked))

    def _asked_at_once(self) -> Optional[Description]:
        try:
            return self.route.do(lambda proxy: described(proxy, self.query, self.locked, at_once=True))
        except NotYet:
            return None

    def _followed(self, folder: Path) -> Description:
        try:
            store = NodeStore(folder, self.route.settings.capacity)
            path = store.path_of(Sha256.of(f"following {self.query['ref']}".encode()))
            with held_alone(path), partial_file(path) as file:
                return self._followed_into(store, file)
        except OSError as error:
            logging.getLogger("zooproxy").warning("the node's store cannot be used (%s): not following", error)
            return self._asked()

    def _followed_into(self, store: NodeStore, file: IO[bytes]) -> Description:
        meanwhile = self._asked_at_once()  # another process may have followed
        if meanwhile is not None:
            return meanwhile
        digest = self.route.do(lambda proxy: self._received(proxy, file))
        description = self._asked()
        index = description.index
        if digest == index.blob:
            store.adopt(file, key_of_whole(index.blob, index.size), index.size)
        return description

    def _received(self, proxy: Connection, file: IO[bytes]) -> Optional[Sha256]:
        """The digest of all that came; None where ``proxy`` has it by now, and its parts can be had."""
        body = proxy.open(routes.CHECKPOINT, {"ref": self.query["ref"], "variant": routes.RAW}, {})
        if body.header(routes.STATE_HEADER) != FILLING:
            proxy.close()
            return None
        file.seek(0)
        file.truncate()
        hasher = Hasher()
        with Progress(self.query["ref"], (body.size or 0) if self.progress else 0) as progress:
            for block in body.blocks(_BLOCK):
                hasher.update(block)
                file.write(block)
                progress.advance(len(block))
        return hasher.digest()
