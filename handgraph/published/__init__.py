"""Published graph networks, and loaders for weights in the format of the authors' code.

:func:`handgraph.nn.load_hope_weights` loads the graph U-Net of HOPE-Net, and
:func:`handgraph.vision.load_pose_checkpoint` loads networks that detect joints.
"""

from handgraph.published.graph_net import GraphNet, load_graph_net_weights
from handgraph.published.residual_gcn import ResidualGCN, load_gcn_weights

__all__ = ["GraphNet", "ResidualGCN", "load_gcn_weights", "load_graph_net_weights"]
