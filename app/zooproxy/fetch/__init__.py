"""Upstreams: whom to ask (``policy``), how (``http``), and when to believe what came (``proof``, ``fetcher``)."""
