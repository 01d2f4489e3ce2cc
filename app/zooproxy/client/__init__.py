"""The thin client: asks the proxy for a tensor index, then takes the bytes of its tensors and nothing else.

==================================================  ===================================================================
``loader``                                          ``load``, and the order of it
``settings``, ``chain``, ``transport``              where to load from; one proxy after the other; HTTP
``following``                                       what a proxy is still fetching
``description``, ``receiving``                      what a proxy says of a reference; from there to its bytes
``plan``, ``parts``, ``transfer``                   which bytes, in which pieces, over several connections; their proof
``node_store``, ``storages``, ``assembly``          the node's files; torch's memory; tensors in their tree
``splicing``                                        into files, within the kernel
``staging``                                         onto a GPU while the bytes arrive
``broadcast``                                       one copy for a whole job
``in_order``, ``byte_order``                        a whole file's digest; numbers of other machines
``direct``, ``pulling``, ``local``                  without a proxy; into a file; from a file
``checkpoint``, ``module_state``, ``own_names``     mmengine's checkpoint module
``installed_mmengine``, ``pavi``, ``log``           what is honoured where it is installed
``hooks``, ``hub``, ``imports``, ``startup/``       mmengine's, mmcv's and torch.hub's downloads; ``zooproxy run``
``comparing``                                       ``compare`` and ``zooproxy diff``
==================================================  ===================================================================

Standard library only; torch is imported inside functions.
"""
