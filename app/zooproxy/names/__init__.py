"""What a checkpoint is called: references, the catalog that explains them, and hash hints in file names.

``reference`` (text to a checked value), ``catalog`` (reference to source; ``search`` and ``listing`` find names in it),
``hints`` (digests in file names), ``mentions`` (references in configs) and ``sync`` (how the packaged data is read from
published packages). Standard library only, but for YAML, for which PyYAML is imported when some is read; importing any
of it reads no data.
"""
