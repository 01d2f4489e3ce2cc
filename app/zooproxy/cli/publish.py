"""``zooproxy publish``: a checkpoint of one's own, served by the proxy like all others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zooproxy.names.published import PublishedName
from zooproxy.names.zoos import SITE


def add_to(commands: Any) -> None:
    publish = commands.add_parser(
        "publish",
        help="upload a checkpoint of your own to ZOOPROXY's first proxy, under a name of your site's",
        description="Afterwards site://team/model is the file; with --tag v1 also site://team/model@v1, which does not "
        "move. It is never evicted while a name leads to it.",
    )
    publish.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a checkpoint; not with --rm")
    publish.add_argument("name", metavar="NAME", help="team/model, or a whole reference: site://team/model@v1")
    publish.add_argument("--tag", help="a version, under which the file stays when the name alone moves on")
    publish.add_argument("--scheme", default=SITE, help="of another zoo than the site's own")
    publish.add_argument("--force", action="store_true", help="move a tag that has other bytes")
    publish.add_argument("--rm", action="store_true", help="withdraw the tag, or the name and all its tags")
    publish.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from zooproxy.cli.pull import reporting
    from zooproxy.client.publishing import publish, withdraw
    from zooproxy.client.settings import ClientSettings
    from zooproxy.errors import BadRequest, SettingsError

    name, settings = _name(options), ClientSettings.from_environ()
    if options.rm != (options.file is None):
        raise BadRequest("--rm takes a name and no file; without it, zooproxy publish FILE NAME")
    if options.rm:
        withdraw(name, settings)
        print(f"withdrawn: {name.ref}")
        return 0
    with reporting() as report:
        try:
            published = publish(options.file, name, settings, force=options.force, report=report)
        except OSError as error:
            raise SettingsError(f"{options.file} cannot be read: {error.strerror}") from error
    for ref in published.refs:
        print(f"{ref}  {published.sha256}")
    return 0


def _name(options: argparse.Namespace) -> PublishedName:
    scheme, separator, rest = options.name.partition("://")
    name, _, tag = (rest if separator else options.name).partition("@")
    return PublishedName(scheme if separator else options.scheme, name, options.tag or tag or None)
