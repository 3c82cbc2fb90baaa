"""Renderer of hand images for :class:`handgraph.datasets.SyntheticHands` with an ``image_size``.

The modules from joints to pixels: ``anatomy`` lists the balls, cones and wedges that cover the
bones, ``surface`` places them, and ``shapes`` intersects them with rays. ``cover`` and ``raster``
compute the z-buffer; ``frames`` and ``fragments`` read it. ``skin``, ``light``, ``background`` and
``camera`` compute colours, and ``pictures`` combines all. ``visibility`` and ``sight`` use the same
surfaces to find the visible joints. ``counters`` generates random numbers.
"""
