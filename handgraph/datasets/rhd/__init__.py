"""The Rendered Hand pose Dataset: its files, read and written."""

from handgraph.datasets.rhd.hands import RHDHands
from handgraph.datasets.rhd.writer import write_rhd

__all__ = ["RHDHands", "write_rhd"]
