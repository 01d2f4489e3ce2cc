"""How the packaged data is read from published packages, without importing or executing anything in them.

``torchvision`` (syntax trees), ``mmengine`` (its JSON maps) and ``metafiles`` (the ``.mim`` folders of OpenMMLab's
packages) give ``Section`` values; ``section_to_json`` gives the bytes of ``names/data/<zoo>.json``. No network: the
caller brings opened packages. The same packages give the same bytes.
"""
