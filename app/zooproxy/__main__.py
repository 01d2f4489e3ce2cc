"""``python -m zooproxy``: the same as the ``zooproxy`` command."""

from __future__ import annotations

import sys

from zooproxy.cli import main

sys.exit(main())
