"""``zooproxy catalog sync`` and ``catalog wheels``: the catalog's data, read again from the packages it comes from."""

from __future__ import annotations

import argparse
import os
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zooproxy.cli.service import check_installed
from zooproxy.errors import SettingsError, UnreadablePackage
from zooproxy.names.sections import Section, data_directory, section_to_json, shipped_sections
from zooproxy.names.sync.packages import Package, Wheel, installations, package_name
from zooproxy.names.sync.reading import READABLE, read_sections


def add_to(verbs: Any) -> None:
    sync = verbs.add_parser(
        "sync",
        help="read names from packages into the site's catalog",
        description="Reads names from wheels or from installed packages (those of this environment by default) and "
        "writes them into the data directory of the proxy, which reads them at its next start. Nothing of the packages "
        f"is imported. Read are: {', '.join(READABLE)}.",
    )
    sync.add_argument("--wheel", action="append", nargs="+", type=Path, metavar="X.whl", help="read these files")
    sync.add_argument("--site-packages", type=Path, metavar="DIR", help="read what is installed there")
    sync.add_argument("--into", type=Path, metavar="DIR", help="write there, not into the proxy's data directory")
    sync.add_argument("--packaged", action="store_true", help="for developers: write the data that zooproxy ships")
    sync.add_argument("--check", action="store_true", help="write nothing; exit status 1 if anything would change")
    sync.set_defaults(run=_sync)
    wheels = verbs.add_parser("wheels", help="pip requirements of the wheels that the packaged names were read from")
    wheels.set_defaults(run=_wheels)


def _sync(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        packages = dict(_packages(options, stack))
        sections = list(read_sections(packages, shipped_sections()))
    if not sections:
        raise UnreadablePackage(f"there is no package that tells names; read are {', '.join(READABLE)}")
    directory = _target(options)
    changed = [section for section in sections if _update(directory, section, write=not options.check)]
    return 1 if changed and options.check else 0


def _update(directory: Path, section: Section, *, write: bool) -> bool:
    """Whether the section's file is not what it should be; with ``write`` it is, afterwards."""
    path, text = directory / f"{section.zoo}.json", section_to_json(section)
    known = path.read_bytes() if path.is_file() else None
    verdict = "unchanged" if known == text.encode() else "new" if known is None else "changed"
    if write and verdict != "unchanged":
        _write(path, text)
    package = f"{section.origin['package']} {section.origin['version']}"
    print(f"{section.zoo}: {len(section.models)} names of {package}: {verdict}")
    return verdict != "unchanged"


def _write(path: Path, text: str) -> None:
    """In one step: a proxy that starts meanwhile reads the old file or the new one."""
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _packages(options: argparse.Namespace, stack: ExitStack) -> Iterator[tuple[str, Package]]:
    seen: set[str] = set()
    for path in (path for group in options.wheel or () for path in group):
        wheel = _opened(path, stack)
        name = package_name(wheel)
        if name in seen:
            raise UnreadablePackage(f"{path.name} is a second wheel of {name}; give one of each package")
        seen.add(name)
        yield name, wheel
    if options.site_packages is not None or not options.wheel:
        directory = options.site_packages or Path(sysconfig.get_path("purelib"))
        yield from ((name, found) for name, found in installations(directory) if name not in seen)


def _opened(path: Path, stack: ExitStack) -> Wheel:
    try:
        return Wheel(stack.enter_context(path.open("rb")))
    except OSError as error:
        raise UnreadablePackage(f"{path} cannot be read: {error.strerror}") from error
    except UnreadablePackage as error:
        raise UnreadablePackage(f"{path.name}: {error}") from error


def _target(options: argparse.Namespace) -> Path:
    if options.packaged:
        return data_directory()
    if options.into is not None:
        return Path(options.into)
    check_installed()
    from zooproxy.provide.site_catalog import SYNCED_FOLDER
    from zooproxy.serving.settings import read_settings

    return read_settings().data_dir / SYNCED_FOLDER


def _wheels(_: argparse.Namespace) -> int:
    for line in sorted(set(_requirements(shipped_sections()))):
        print(line)
    return 0


def _requirements(sections: Iterable[Section]) -> Iterator[str]:
    for section in sections:
        for stamp in (section.origin, section.origin.get("legacy")):
            if isinstance(stamp, dict):
                yield f"{stamp['package']}=={stamp['version']} --hash=sha256:{stamp['wheel_sha256']}"
