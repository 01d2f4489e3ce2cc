"""How the packaged data is read from published wheels, without importing or executing anything in them.

``torchvision`` (syntax trees) and ``mmengine`` (its JSON maps) give ``Section`` values; ``section_to_json`` gives the
bytes of ``names/data/<zoo>.json``. No network: the caller brings opened wheels. The same wheels give the same bytes.
"""
