"""Fills as the settings describe them: whom they may ask, how patiently, how many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from zooproxy.cache.database import Database
from zooproxy.cache.hosts import HostsSeen
from zooproxy.cache.shelf import Shelf
from zooproxy.errors import SettingsError
from zooproxy.fetch.attempt import Limits, Segments
from zooproxy.fetch.certificates import trusted_certificates
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.hosts import Hosts
from zooproxy.fetch.http import open_http
from zooproxy.fetch.local_files import LocalFiles
from zooproxy.fetch.pace import Bandwidth, MinimumRate
from zooproxy.fetch.pavi import PaviUpstream
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.fetch.published_files import PublishedFiles
from zooproxy.fetch.retries import Retries
from zooproxy.fetch.s3 import Cluster, open_s3
from zooproxy.fetch.slots import Slots
from zooproxy.fetch.upstream import Patience, Upstream
from zooproxy.names import local_files, published
from zooproxy.names.catalog import Catalog
from zooproxy.provide.events import Events
from zooproxy.provide.fills import Fills, Policy, open_fills
from zooproxy.provide.host_watch import HostWatch
from zooproxy.provide.landing import Ground
from zooproxy.provide.parent_names import ParentNames
from zooproxy.provide.site_catalog import LOCAL_FOLDER, parents_file
from zooproxy.serving.settings import Settings


class Fetching:
    """
    Raises:
        SettingsError: MIRRORS holds what is no mirror, DENY_HOSTS a mirror, or CA_FILE no certificates.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._fetcher: Fetcher | None = None
        self._http: Upstream | None = None
        self._private = AllowedHosts(settings.private_hosts)
        token = settings.parent_token.get_secret_value() if settings.parent_token else None
        self._mirrors = Mirrors(settings.mirrors, settings.parent, token)
        self._hosts = AllowedHosts([*catalog.allowed(), *settings.allow_hosts], settings.deny_hosts)
        for host, port in sorted(self._mirrors.endpoints()):
            if self._hosts.denies(f"//{host}:{port}"):
                raise SettingsError(f"DENY_HOSTS denies {host}, which MIRRORS or PARENT names; take it out of one")
        self._certificates = trusted_certificates(settings.ca_file)

    def become(self, other: Fetching, fills: Fills) -> None:
        """Takes over the rules and limits of ``other``, for ``fills`` that ``open`` gave."""
        self._settings, self._private = other._settings, other._private
        self._hosts, self._mirrors = other._hosts, other._mirrors
        fills.go_offline(self._settings.offline)
        if self._fetcher is not None:
            kept = self._fetcher.limits  # what counts running transfers goes on counting them
            kept.bandwidth.change(self._settings.bandwidth)
            limits = replace(self._limits(), bandwidth=kept.bandwidth, connections=kept.connections)
            self._fetcher.obey(self._hosts, self._mirrors, limits)

    def check_host(self, url: str) -> None:
        """
        Raises:
            HostNotAllowed: an http(s) URL whose host is not among the allowed ones.
        """
        if urlsplit(url).scheme in ("http", "https"):
            self._hosts.check(url)

    @asynccontextmanager
    async def open(self, ground: Ground, shelf: Shelf, database: Database) -> AsyncIterator[Fills]:
        """
        Raises:
            CacheError: the data directory or the database cannot be used.
        """
        settings = self._settings
        policy = Policy(settings.offline, Slots(settings.fills, settings.fills_per_host))
        async with AsyncExitStack() as stack:
            patience = Patience(settings.connect_seconds, settings.stall_seconds)
            opening = open_http(
                patience=patience,
                certificates=self._certificates,
                exempt=self._exempt,
                credentials=lambda url: self._mirrors.credentials(url),  # those of now: settings are reloaded
            )
            self._http = http = await stack.enter_async_context(opening)
            local = LocalFiles(settings.data_dir / LOCAL_FOLDER)
            upstreams: dict[str, Upstream] = {"http": http, "https": http, local_files.SCHEME: local}
            upstreams["s3"] = await stack.enter_async_context(
                open_s3(self._clusters(), patience=patience, ca_file=settings.ca_file)
            )
            upstreams["pavi"] = PaviUpstream()
            upstreams[published.SCHEME] = PublishedFiles()
            self._fetcher = Fetcher(upstreams, self._hosts, self._mirrors, self._limits())
            yield await stack.enter_async_context(open_fills(self._fetcher, ground, shelf, database, policy))

    def parent_names(self) -> ParentNames | None:
        """What is published to the parent, if there is one; to be asked for after ``open``."""
        settings = self._settings
        if settings.parent is None or self._http is None:
            return None
        parent = lambda: None if self._settings.offline else self._mirrors.parent  # noqa: E731  # as reloaded
        return ParentNames(self._http, parent, parents_file(settings.data_dir))

    def host_watch(self, rows: HostsSeen, events: Events) -> HostWatch:
        patience = Patience(self._settings.connect_seconds, self._settings.stall_seconds)
        return HostWatch(Hosts(self._exempt, self._certificates, patience), rows, events)

    def _clusters(self) -> dict[str, Cluster]:
        return {
            name: Cluster(
                one.endpoint,
                one.region,
                one.access_key,
                one.secret_key.get_secret_value() if one.secret_key else None,
                one.path_style,
            )
            for name, one in self._settings.s3.items()
        }

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            Retries(tries=settings.tries, first_delay=settings.retry_seconds),
            MinimumRate(settings.minimum_rate, settings.minimum_rate_seconds),
            Bandwidth(settings.bandwidth),
            settings.max_file_bytes,
            Segments(settings.segments, settings.segment_bytes),
            Slots(None, settings.connections_per_host),
        )

    def _exempt(self, host: str, port: int) -> bool:
        """Whom the operator named: mirrors by host and port, and PRIVATE_HOSTS."""
        bracketed = f"[{host}]" if ":" in host else host
        return (host, port) in self._mirrors.endpoints() or self._private.allows(f"//{bracketed}:{port}")
