"""The thin client: asks the proxy for a tensor index, then takes the bytes of its tensors into their own memory.

``settings`` (where the proxy is), ``transport`` (HTTP), ``chain`` (one proxy after the other), ``plan`` (which bytes),
``storages`` (torch memory), ``loader`` (``load``), ``checkpoint`` (mmengine's ``load_checkpoint``), ``schemes`` and
``hooks`` (mmengine's and mmcv's registries). Standard library only; torch is imported inside functions.
"""
