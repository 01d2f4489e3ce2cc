"""Bundles: what a cache holds, as one file that is carried across an air gap.

A bundle is a tar file (POSIX.1-1988 "ustar"), or several that were split for their media, each whole in itself::

    manifest.json           what follows, and what it is good for
    manifest.json.sig       optional: a signature of the manifest (``signatures``)
    blobs/sha256/<64 hex>   each member that the manifest lists, in its order
    1024 zero bytes         the end, and nothing after it

``layout`` has the headers, ``manifest`` the manifest field by field. Both have one spelling for one content: the same
cache makes the same bytes, whenever and wherever. So an interrupted export can be continued, and a reader needs to
*parse* nothing but two lengths: every other header is compared with the one that has to be there.
"""
