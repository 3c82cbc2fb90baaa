"""The model card of a saved lifter, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from handgraph.hub.config import Config


def write_card(config: Config, summary: str, data: ModelCardData) -> ModelCard:
    """Return the model card of a config.

    Args:
        config: Config of the lifter.
        summary: One-sentence summary of the class.
        data: Metadata for the Hub.
    """
    kind, version = config["class"], config["handgraph"]
    sections = {
        "Use": _usage(kind),
        **{str(title): _section(content) for title, content in config["about"].items()},
        "Arguments": _section(_brief(config["arguments"])),
    }
    head = f"---\n{data.to_yaml()}\n---\n\n# {kind}\n\n{summary}"
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items())
    return ModelCard(f"{head}\n\nWritten by handgraph {version}.\n\n{body}")


def _usage(kind: str) -> str:
    lines = [
        "```python",
        f"from handgraph.hub import {kind}  # pip install 'handgraph[hub]'",
        "",
        f'net = {kind}.from_pretrained("this folder, or its name on the Hub")',
        "```",
    ]
    return "\n".join(lines)


def _section(content: Any) -> str:  # noqa: ANN401  (any JSON value)
    """Format lists and mappings as bullets, or as a table if all values have the same keys."""
    if isinstance(content, Mapping):
        rows = list(content.values())
        if rows and all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
            return _table(content)
        return "\n".join(f"- {key}: {value}" for key, value in content.items())
    if isinstance(content, list | tuple):
        return "\n".join(f"- {item}" for item in content)
    return str(content)


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *map(str, row.values())] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _brief(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments, with one line for skeletons and removal sets."""
    brief = dict(arguments)
    removal = arguments.get("removal")
    skeleton = removal["skeleton"] if removal else arguments.get("skeleton")
    if removal:
        sets = (f"{one['name']} ({', '.join(one['removes'])})" for one in removal["sets"])
        brief["removal"] = "; ".join(sets)
    if skeleton:
        brief["skeleton"] = f"{skeleton['name']} ({', '.join(skeleton['joints'])})"
    return brief
