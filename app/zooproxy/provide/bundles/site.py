"""What a bundle is made from, and what one goes into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zooproxy.cache.cache_pins import CachePins
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.site_names import SiteNames
from zooproxy.names.catalog import Catalog
from zooproxy.provide.pins import Pins
from zooproxy.provide.stock import Stock


@dataclass(frozen=True, slots=True)
class Site:
    """A data directory, with a server running on it or none."""

    data_dir: Path
    shelf: Shelf
    catalog: Catalog
    site_names: SiteNames
    pins: Pins
    stock: Stock
    cache_pins: CachePins
