"""What a checkpoint is made of, found without running any of it.

``sniff`` (which container), ``reader`` (the tensor index), ``variants`` and ``segments`` (how an index is served from
ranges of the blob). Standard library only, synchronous, no IO beyond the open file handed in.
"""
