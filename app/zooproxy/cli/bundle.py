"""``zooproxy bundle``: what a cache holds, carried across an air gap as files."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooproxy.cli.config_references import references_in
from zooproxy.cli.recording import record
from zooproxy.cli.service import check_installed
from zooproxy.client.settings import size_in_bytes
from zooproxy.errors import BundleIncomplete, SettingsError
from zooproxy.names.lock import lock_at

if TYPE_CHECKING:
    from zooproxy.provide.bundles.importing import Imported, Terms
    from zooproxy.provide.bundles.manifest import Manifest
    from zooproxy.provide.bundles.planning import Asked
    from zooproxy.provide.bundles.reading import BundleReader
    from zooproxy.provide.bundles.signatures import SigningKey, TrustedKeys
    from zooproxy.provide.bundles.site import Site
    from zooproxy.serving.settings import Settings


def add_to(commands: Any) -> None:
    bundle = commands.add_parser("bundle", help="carry what a cache holds across an air gap, as files")
    verbs = bundle.add_subparsers(metavar="VERB", required=True)
    _add_export(verbs)
    verify = verbs.add_parser("verify", help="is every byte of these bundles right, and every part there?")
    verify.add_argument("files", metavar="F", type=Path, nargs="+")
    _add_trust(verify, "they have to be signed with one of these keys (PEM)")
    verify.set_defaults(run=_verify)
    take = verbs.add_parser(
        "import", help="take bundles into the data directory of these settings; a server may run on it"
    )
    take.add_argument("files", metavar="F", type=Path, nargs="+", help="the bundle, or all its parts in any order")
    take.add_argument(
        "--accept", action="store_true", help="the bundle is right where it contradicts what is trusted here"
    )
    _add_trust(take, "they have to be signed with one of these keys (PEM); instead of the setting BUNDLE_KEYS")
    take.set_defaults(run=_import)


def _add_trust(verb: argparse.ArgumentParser, words: str) -> None:
    verb.add_argument("--trust", metavar="PUBKEY", type=Path, action="append", default=[], help=words)


def _add_export(verbs: Any) -> None:
    export = verbs.add_parser(
        "export", help="write what the data directory of these settings holds into a bundle; a server may run on it"
    )
    export.add_argument("refs", metavar="REF", nargs="*", help="a reference: torchvision://resnet50, https://…/x.pth")
    export.add_argument("--held", action="store_true", help="all that is held")
    export.add_argument(
        "--from-config", metavar="PATH", type=Path, nargs="+", default=[], help="what these training configs name"
    )
    export.add_argument(
        "--since",
        metavar="BUNDLE",
        type=Path,
        nargs="+",
        default=[],
        help="leave out what these bundles carry; their manifests alone will do",
    )
    export.add_argument("--lock", metavar="F", type=Path, help="all that this weights.lock lists, as it lists it")
    export.add_argument("--sign", metavar="KEY", type=Path, help="sign it with this private key (PEM, P-256 or larger)")
    export.add_argument(
        "--no-proof",
        action="store_true",
        help="faster: do not hash the blobs again. What has rotted on this disk is then refused by the import",
    )
    export.add_argument("--split", metavar="SIZE", help="into F.001, F.002, … of at most this many bytes: 25G")
    export.add_argument(
        "-o",
        dest="to",
        metavar="F",
        type=Path,
        required=True,
        help="the file to write; an export that was interrupted goes on where it stopped",
    )
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.bundles.files import read_manifest
    from zooproxy.provide.bundles.planning import Asked
    from zooproxy.provide.bundles.signatures import SigningKey

    named = [ref for path in options.from_config for ref in references_in(path)]
    refs = tuple(dict.fromkeys([*options.refs, *named]))
    if not refs and not options.held and options.lock is None:
        raise SettingsError("nothing to export: name a reference, a config, a lock file, or --held for all there is")
    asked = Asked(
        refs=refs,
        held=options.held,
        locked=() if options.lock is None else tuple(lock_at(options.lock).sources()),
        since=tuple(map(read_manifest, options.since)),
        split=None if options.split is None else size_in_bytes("--split", options.split),
    )
    key = None if options.sign is None else SigningKey(options.sign)
    asyncio.run(_exported(asked, key, options.to, proven=not options.no_proof))
    return 0


async def _exported(asked: Asked, key: SigningKey | None, to: Path, *, proven: bool) -> None:
    from zooproxy.provide.bundles.exporting import Exporter, Sealed
    from zooproxy.provide.bundles.files import part_paths
    from zooproxy.provide.bundles.planning import plan
    from zooproxy.serving.settings import read_settings
    from zooproxy.serving.site import open_site

    settings = read_settings()
    if not settings.data_dir.is_dir():
        raise SettingsError(f"there is no data directory {settings.data_dir}; ZOOPROXY_DATA_DIR names another one")
    async with open_site(settings) as site:
        planned = await plan(site.shelf.index, site.catalog, site.pins, asked)
        exporter = Exporter(site.shelf, planned.layers, proven=proven)
        for manifest, path in zip(planned.parts, part_paths(to, len(planned.parts)), strict=True):
            sealed = Sealed(manifest, key.sign(manifest) if key else None)
            written = await exporter.write(sealed, path)
            kept = f", {written.kept:,} of them there already" if written.kept else ""
            print(f"{path}: {_told(manifest)}; {written.size:,} bytes{kept}", flush=True)


def _import(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.bundles.signatures import TrustedKeys
    from zooproxy.serving.settings import read_settings

    settings = read_settings()
    keys = TrustedKeys(options.trust or settings.bundle_keys)
    asyncio.run(_imported(settings, options.files, keys, accept=options.accept))
    return 0


async def _imported(settings: Settings, files: Sequence[Path], keys: TrustedKeys, *, accept: bool) -> None:
    from zooproxy.provide.bundles.importing import Terms, make_room
    from zooproxy.serving.site import open_site

    terms = Terms(accept=accept, signed=bool(keys))
    async with open_site(settings) as site:
        # For all parts, before the first of them is in; what comes through a pipe can't be looked at twice.
        await make_room(site, [_vouched(path, keys) for path in files if path.is_file()])
        manifests = []
        for path in files:
            told = {"file": str(path), "accept": accept, "signed": terms.signed}
            manifest, imported = await _taken_in(site, path, keys, terms)
            told |= {"bundle": manifest.part.whole, "part": manifest.part.number, "new_blobs": imported.new}
            record(settings, "bundle import", told)
            new = f"{imported.new} of {imported.blobs} blobs are new here"
            print(f"{path}: {_told(manifest)}; {new}", flush=True)
            for line in imported.told:
                print(f"  {line}")
            manifests.append(manifest)
    _tell_missing(manifests)


async def _taken_in(site: Site, path: Path, keys: TrustedKeys, terms: Terms) -> tuple[Manifest, Imported]:
    from zooproxy.provide.bundles.importing import take_in

    with _reading(path, keys) as reader:
        return reader.manifest, await take_in(site, reader, terms)


def _vouched(path: Path, keys: TrustedKeys) -> Manifest:
    with _reading(path, keys) as reader:
        return reader.manifest


@contextmanager
def _reading(path: Path, keys: TrustedKeys) -> Iterator[BundleReader]:
    """A bundle that one of ``keys`` signed, if there are any."""
    from zooproxy.provide.bundles.files import opened
    from zooproxy.provide.bundles.reading import BundleReader

    with opened(path) as file:
        reader = BundleReader(file)
        if keys:
            keys.check(reader.manifest, reader.signature)
        yield reader


def _verify(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.bundles.checking import check_members, check_parts
    from zooproxy.provide.bundles.signatures import TrustedKeys

    manifests, keys = [], TrustedKeys(options.trust)
    for path in options.files:
        with _reading(path, keys) as reader:
            check_members(reader)
        manifests.append(reader.manifest)
        print(f"{path}: {_told(reader.manifest)}; whole, {_signed(reader, keys)}", flush=True)
    check_parts(manifests)
    _tell_needed(manifests)
    return 0


def _signed(reader: BundleReader, keys: TrustedKeys) -> str:
    if keys:
        return "signed with a key that is trusted"
    return "not signed" if reader.signature is None else "signed, by whom was not asked (--trust PUBKEY)"


def _told(manifest: Manifest) -> str:
    contents, part = manifest.contents, manifest.part
    which = f" part {part.number} of {part.count}," if part.count > 1 else ""
    blobs = len(contents.members) - len(contents.documents & {member.sha256 for member in contents.members})
    return f"bundle {part.whole[:12]},{which} {len(contents.sources)} sources, {blobs} blobs"


def _tell_needed(manifests: Sequence[Manifest]) -> None:
    here = {manifest.part.whole for manifest in manifests}
    needed = {previous for manifest in manifests for previous in manifest.contents.previous} - here
    for previous in sorted(needed):
        print(f"it adds to the bundle {previous[:12]}, which has to be imported first")


def _tell_missing(manifests: Sequence[Manifest]) -> None:
    from zooproxy.provide.bundles.checking import check_parts

    try:
        check_parts(manifests)
    except BundleIncomplete as error:
        print(error)
