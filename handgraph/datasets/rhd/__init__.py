"""Reader and writer of the Rendered Hand pose Dataset."""

from handgraph.datasets.rhd.hands import RHDHands
from handgraph.datasets.rhd.writer import write_rhd

__all__ = ["RHDHands", "write_rhd"]
