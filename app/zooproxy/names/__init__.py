"""What a checkpoint is called: references, the catalog that explains them, and hash hints in file names.

``reference`` (text to a checked value), ``catalog`` (reference to source), ``hints`` (digests in file names) and
``sync`` (how the packaged data was read from published packages). Standard library only; importing any of it
reads no data.
"""
