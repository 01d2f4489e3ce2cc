"""Programs beside Python that tests run for real."""

from __future__ import annotations

import os
import shutil

import pytest

#: The Debian package of each; `make components` installs them all.
PACKAGES = {
    "nginx": "nginx-core",
    "wget": "wget",
    "aria2c": "aria2",
    "curl": "curl",
    "wrk": "wrk",
    "openssl": "openssl",
    "unshare": "util-linux",
    "radosgw": "radosgw",
    "radosgw-admin": "ceph-common",
    "ceph": "ceph-common",
    "monmaptool": "ceph-base",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
}


def program(name: str) -> str:
    """Its path. Without it the test is skipped, and under CI it fails: both say how to get it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is not None:
        return found
    missing = f"{name} is missing: make components, or apt-get install {PACKAGES[name]}"
    if "CI" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)
