"""``zooproxy cache accept``: an operator's word on a source that delivers other bytes than it was trusted with."""

from __future__ import annotations

import argparse
import os
from typing import Any
from urllib.parse import urlencode

from zooproxy.cli.warm import Service
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.wire import routes


def add_to(verbs: Any) -> None:
    accept = verbs.add_parser("accept", help="believe a source that changed: its reference and its full sha256")
    accept.add_argument("ref", metavar="REF")
    accept.add_argument("sha256", metavar="SHA256")
    accept.set_defaults(run=_accept)


def _accept(options: argparse.Namespace) -> int:
    try:
        digest = Sha256(options.sha256)
    except ValueError as error:
        raise BadRequest(f"SHA256: {error}") from error
    service = Service(ClientSettings.from_environ(os.environ))
    service.call("PUT", f"{routes.ACCEPTED}?{urlencode({'ref': options.ref, 'sha256': digest})}")
    print(f"accepted {options.ref}: {digest}")
    return 0
