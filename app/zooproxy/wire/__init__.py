"""The wire contract, version 1: the one place that both the server and the clients import it from.

``routes`` (paths, header names, media types), ``answers`` (JSON of look-ups), ``problems`` (RFC 9457), ``tensors``
(the tensor index) and ``plain`` (the plain values around tensors). Standard library only.
"""
