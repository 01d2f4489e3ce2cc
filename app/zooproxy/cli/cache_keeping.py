"""``zooproxy cache pin``, ``unpin``, ``rm`` and ``gc``: what the proxy keeps, and what it lets go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from zooproxy.cli.warm import Service
from zooproxy.client.settings import ClientSettings, size_in_bytes
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.wire import routes


def add_to(verbs: Any) -> None:
    pin = verbs.add_parser("pin", help="never evict these references")
    pin.add_argument("refs", metavar="REF", nargs="+")
    pin.set_defaults(run=_pin)
    unpin = verbs.add_parser("unpin", help="let these references be evicted again")
    unpin.add_argument("refs", metavar="REF", nargs="+")
    unpin.set_defaults(run=_unpin)
    remove = verbs.add_parser("rm", help="remove blobs for good, and what was derived from them")
    remove.add_argument("blobs", metavar="REF|SHA256", nargs="+")
    remove.add_argument("--force", action="store_true", help="even if it is pinned or being read")
    remove.set_defaults(run=_remove)
    collect = verbs.add_parser("gc", help="evict down to the proxy's cap")
    collect.add_argument("--to", metavar="SIZE", help="down to this: 200G; 0 evicts all that may be")
    collect.set_defaults(run=_collect)


def _pin(options: argparse.Namespace) -> int:
    service = _service()
    for ref in options.refs:
        pinned = service.call("PUT", _of_pin(ref))
        print(f"pinned    {ref}{'' if pinned['sha256'] else ' (not held yet)'}")
    return 0


def _unpin(options: argparse.Namespace) -> int:
    service = _service()
    for ref in options.refs:
        service.order("DELETE", _of_pin(ref))
        print(f"unpinned  {ref}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    service = _service()
    for named in options.blobs:
        path = routes.CACHE_BLOB.format(sha256=_digest(service, named))
        removed = service.call("DELETE", f"{path}?force=true" if options.force else path)
        print(f"removed   {named}: {_told(removed)}")
    return 0


def _collect(options: argparse.Namespace) -> int:
    to = None if options.to is None else size_in_bytes("--to", options.to)
    removed = _service().call("POST", routes.CACHE_GC, {"to_bytes": to})
    print(f"evicted {_told(removed)}; {removed['bytes']:,} bytes are held, {removed['pinned_bytes']:,} of them pinned")
    if removed["in_use_bytes"]:
        print(f"{removed['in_use_bytes']:,} bytes could not leave: they are in use")
    return 0


def _service() -> Service:
    return Service(ClientSettings.from_environ(os.environ))


def _of_pin(ref: str) -> str:
    return f"{routes.CACHE_PINS}?{urlencode({'ref': ref})}"


def _digest(service: Service, named: str) -> str:
    """
    Raises:
        BadRequest: the reference is not held.
    """
    try:
        return Sha256(named.lower())
    except ValueError:
        resolved = service.call("GET", f"{routes.RESOLVE}?{urlencode({'ref': named})}")
    if resolved["size"] is None:
        raise BadRequest(f"{named} is not held; 'zooproxy cache ls' shows what is")
    return str(resolved["sha256"])


def _told(removed: Mapping[str, Any]) -> str:
    blobs = removed["removed_blobs"]
    return f"{blobs:,} {'blob' if blobs == 1 else 'blobs'}, {removed['removed_bytes']:,} bytes"
