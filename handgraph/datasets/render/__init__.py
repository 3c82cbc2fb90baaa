"""Pictures of hands: what :class:`handgraph.datasets.SyntheticHands` shows with an ``image_size``.

From joints to pixels, one file each: ``anatomy`` says which balls, cones and wedges cover which
bones, ``surface`` places them, ``shapes`` says where a ray meets them, ``cover`` and ``raster``
make the z-buffer, ``frames`` and ``fragments`` read it, ``skin``, ``light``, ``background`` and
``camera`` make the picture, ``pictures`` puts all together. ``visibility`` and ``sight`` ask the
same surfaces which joints a picture shows. Random numbers come from ``counters``.
"""
