"""The joints of a module as an entry of its state dict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets

KEY = "_extra_state"
"""PyTorch's name of the entry in the state dict."""


class MadeFor(nn.Module):
    """A module whose state dict contains its joints and removal sets.

    Nets for other joints, or for another order of the joints, have parameters of the same names and
    shapes. Their weights would load without an error and give wrong results. A state dict without
    this entry loads.
    """

    graph_attribute = "removal"
    """The attribute that holds the skeleton or the removal sets."""

    def made_for(self) -> str:
        """Return the joints in order, and the joints that each set removes, as JSON."""
        graph: Skeleton | RemovalSets = getattr(self, self.graph_attribute)
        if isinstance(graph, Skeleton):
            return json.dumps({"joints": list(graph.joints)})
        joints = graph.skeleton.joints
        lost = [(~mask).nonzero().flatten().tolist() for mask in graph.keep_mask]
        names = [[joints[i] for i in places] for places in lost]
        return json.dumps({"joints": list(joints), "removes": names})

    def get_extra_state(self) -> Tensor:
        """Return the bytes of :meth:`made_for` as a tensor."""
        text = self.made_for().encode()
        return torch.tensor(list(text), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Do nothing: ``_load_from_state_dict`` compares the state."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Compare the states, and add a difference to the errors of ``load_state_dict``."""
        key, own, (*_, missing, _, errors) = prefix + KEY, self.made_for(), args
        found = own if key not in state_dict else bytes(state_dict[key].tolist()).decode()
        if found != own:
            errors.append(
                f"{prefix.removesuffix('.') or type(self).__name__}: expected a state for {own}, "
                f"got one for {found}: to load it anyway, delete its entry {key!r}"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
        if key in missing:
            missing.remove(key)
