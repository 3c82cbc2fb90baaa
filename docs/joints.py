"""Write the tables and pictures of joints that the API pages include."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from handgraph import Skeleton, plot
from handgraph.skeletons import ALL


def write_joints(folder: Path) -> None:
    """Write a section for each skeleton into ``joints.md``, and its picture beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "joints.md").write_text("\n".join(map(section, ALL)), encoding="utf-8")
    for skeleton in ALL:
        size = (14, 6.2) if skeleton.num_joints > 21 else (6, 5)  # two hands side by side
        ax = Figure(figsize=size, layout="constrained").add_subplot()
        plot.draw_skeleton(skeleton, names=True, ax=ax)
        ax.figure.savefig(folder / f"joints_{skeleton.name}.png", dpi=80)


def section(skeleton: Skeleton) -> str:
    """Format the section of a skeleton: a table of its joints with their indices and groups."""
    rows = "\n".join(
        f"| {index} | `{joint}` | {', '.join(groups_of(skeleton, joint))} |"
        for index, joint in enumerate(skeleton.joints)
    )
    name = skeleton.name
    return f"""## {name}

```{{eval-rst}}
.. autodata:: handgraph.skeletons.{name}
   :no-value:
```

![The joints of {name}](joints_{name}.png)

| index | joint | groups |
|---:|---|---|
{rows}
"""


def groups_of(skeleton: Skeleton, joint: str) -> list[str]:
    """Return the groups that contain a joint."""
    return [name for name, joints in skeleton.groups.items() if joint in joints]
