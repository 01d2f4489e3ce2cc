"""``zooproxy cache``: what this node's store and the proxy hold, and an operator's word to the proxy."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from zooproxy.cli import acceptance, cache_keeping, cache_listing, verify
from zooproxy.errors import SettingsError


def add_to(commands: Any) -> None:
    cache = commands.add_parser("cache", help="show, pin, remove, verify what the proxy or this node holds")
    cache.add_argument("--client", action="store_true", help="the store of this node, which its processes share")
    cache.add_argument(
        "--prune", metavar="SIZE", help="remove the least recently used files until the rest fit: 200G, 0 for none"
    )
    cache.set_defaults(run=_run)
    verbs = cache.add_subparsers(metavar="VERB")
    for module in (cache_listing, cache_keeping, acceptance, verify):
        module.add_to(verbs)


def _run(options: argparse.Namespace) -> int:
    from zooproxy.client.node_store import NodeStore
    from zooproxy.client.settings import size_in_bytes, store_folder

    if not options.client:
        raise SettingsError("say which cache: 'cache ls' shows the proxy's, 'cache --client' the store of this node")
    folder = store_folder(os.environ)
    if folder is None:
        raise SettingsError("ZOOPROXY_CACHE_DIR says 'memory': this node keeps no store")
    capacity = None if options.prune is None else size_in_bytes("--prune", options.prune)
    try:
        store = NodeStore(folder, 0)
        if capacity is not None:
            print(f"{store.prune(capacity) if capacity else store.clear():,} bytes removed")
        files = store.files()
    except OSError as error:
        raise SettingsError(f"the node's store {folder} cannot be used: {error.strerror}") from error
    for stored in files:
        used = time.strftime("%Y-%m-%d %H:%M", time.gmtime(stored.used))
        print(f"{stored.size:>16,}  last used {used}  {stored.path.name}")
    print(f"{sum(stored.size for stored in files):,} bytes in {folder}")
    return 0
