"""Importing this module puts the proxy behind mmengine's checkpoint registry.

For a config: ``custom_imports = dict(imports=['zooproxy.mmengine'])``.
"""

from __future__ import annotations

from zooproxy.client.hooks import install

install(["mmengine.runner"])
