"""Which joints a module was made for, as part of its state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets

KEY = "_extra_state"
"""What PyTorch calls the entry of the state dict."""


class MadeFor(nn.Module):
    """A module whose state dict holds the joints, and the removal sets, that it was made for.

    Nets for other joints, or for the same joints in another order, have parameters of the same
    names and shapes, and would give wrong answers without an error. A state without this entry
    loads.
    """

    graph_attribute = "removal"
    """The attribute that holds the skeleton or the removal sets."""

    def made_for(self) -> str:
        """The joints in their order, and what each set removes."""
        graph: Skeleton | RemovalSets = getattr(self, self.graph_attribute)
        if isinstance(graph, Skeleton):
            return json.dumps({"joints": list(graph.joints)})
        joints = graph.skeleton.joints
        lost = [(~mask).nonzero().flatten().tolist() for mask in graph.keep_mask]
        names = [[joints[i] for i in places] for places in lost]
        return json.dumps({"joints": list(joints), "removes": names})

    def get_extra_state(self) -> Tensor:
        """What the module was made for, one number for each byte of the text."""
        text = self.made_for().encode()
        return torch.tensor(list(text), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing is taken: the state is only compared."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Compare the states; ``load_state_dict`` raises all errors at its end."""
        key, own, (*_, missing, _, errors) = prefix + KEY, self.made_for(), args
        found = own if key not in state_dict else bytes(state_dict[key].tolist()).decode()
        if found != own:
            errors.append(
                f"{prefix.removesuffix('.') or type(self).__name__} was made for {own}, and the "
                f"state for {found}; without its entry {key!r} the state is loaded all the same"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
        if key in missing:
            missing.remove(key)
