"""Commands of ``python -m handgraph``."""
