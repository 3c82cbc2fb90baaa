"""Modules that can be saved to a folder and loaded from it."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import safetensors
import torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from safetensors.torch import load, save
from torch import nn

from handgraph import __version__
from handgraph.hub.card import write_card
from handgraph.hub.config import (
    FORMAT,
    Config,
    read_config,
    removal_from_json,
    skeleton_from_json,
)

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_RATIO = 8
"""Largest ratio of a module's size to its file size, that of float64 saved as float8."""

SMALL = 2**27
"""Size in bytes up to which a module is always loaded."""


class SavedModule(nn.Module, ModelHubMixin, library_name="handgraph", tags=["hand-pose"]):
    """Base class of modules that are saved and loaded with ``huggingface_hub``.

    ``save_pretrained(folder)`` writes ``config.json``, ``model.safetensors`` and a model card, but
    does not overwrite an edited card. ``push_to_hub("name/of-repository")`` uploads the same files.
    :meth:`from_pretrained` takes a folder or the name of a repository. Loading is strict: names and
    shapes of all parameters must match. Parameters keep their saved dtypes. A folder of a later
    format raises an error.

    Subclasses implement :meth:`arguments` and call ``super().__init__()``.

    Attributes:
        about: Sections of the model card by title, such as units and training: strings, lists or
            mappings, all JSON.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.hub import BranchLifter
        >>> net = BranchLifter(2, 3, RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"]}))
        >>> net.about["Units"] = {"input": "(u, v) in [-1, 1]", "output": "(u, v) and d of Eq. 1"}
        >>> x = torch.rand(8, 21, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save_pretrained(folder)
        ...     again = BranchLifter.from_pretrained(folder)
        >>> torch.equal(again(x), net(x)), again.removal == net.removal
        (True, True)
    """

    about: dict[str, Any]
    _decoders: ClassVar[Mapping[str, Any]] = {
        "removal": removal_from_json,
        "skeleton": skeleton_from_json,
    }

    def __init__(self) -> None:
        super().__init__()
        self.about = {}

    def arguments(self) -> dict[str, Any]:
        """Return constructor arguments as JSON; loading decodes ``skeleton`` and ``removal``."""
        raise NotImplementedError(
            f"{type(self).__name__} must define arguments(): the constructor's arguments as JSON"
        )

    def config(self) -> Config:
        """Return the content of ``config.json``."""
        return {
            "format": FORMAT,
            "handgraph": __version__,
            "class": type(self).__name__,
            "arguments": self.arguments(),
            "about": self.about,
        }

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Save the module to a folder.

        Args:
            save_directory: The folder.
            options: Options of ``huggingface_hub.ModelHubMixin.save_pretrained``.
        """
        folder = Path(save_directory).expanduser()
        self._remove_card(folder)
        return super().save_pretrained(folder, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write config and parameters; called by ``save_pretrained``."""
        self._check_arguments()
        text = json.dumps(self.config(), indent=1, ensure_ascii=False, allow_nan=False)
        (save_directory / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        (save_directory / SAFETENSORS_SINGLE_FILE).write_bytes(save(state))

    def _check_arguments(self) -> None:
        """Raise unless a module built from the arguments has the same parameters."""
        anew = self._build(self.arguments()).state_dict().keys()
        if anew != self.state_dict().keys():
            raise ValueError(
                f"the parameters of this {type(self).__name__} do not match its arguments, so it "
                "could not be loaded: save it before it is folded or changed"
            )

    def _remove_card(self, folder: Path) -> None:
        """Remove an unedited model card, so that a new one is written."""
        config, card = folder / CONFIG_NAME, folder / "README.md"
        if not (config.is_file() and card.is_file()):
            return
        try:
            written = str(self._card(read_config(config, type(self).__name__)))
        except ValueError:  # config of another class
            written = ""
        if card.read_text(encoding="utf-8") == written:
            card.unlink()
        else:
            warnings.warn(f"{card} was edited and is not overwritten", stacklevel=3)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the model card; called by ``save_pretrained`` if the folder has none."""
        return self._card(self.config())

    def _card(self, config: Config) -> ModelCard:
        summary = (inspect.getdoc(type(self)) or "").partition("\n")[0]
        return write_card(config, summary, self._hub_mixin_info.model_card_data)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **download: Any) -> Self:
        """Load a module in eval mode, on the CPU, from a folder or a repository on the Hub.

        Args:
            pretrained_model_name_or_path: A folder, or the name of a repository.
            download: Options of ``huggingface_hub.snapshot_download``, such as ``revision``.

        Raises:
            FileNotFoundError: If neither folder nor repository exists, or a file in it is missing.
            ValueError: If config or parameters are damaged, of another class, of a later format,
                or do not match.
        """
        name, wanted = pretrained_model_name_or_path, [CONFIG_NAME, SAFETENSORS_SINGLE_FILE]
        folder = Path(name).expanduser()
        if not folder.is_dir():
            if isinstance(name, Path):
                raise FileNotFoundError(f"no such folder: {name}")
            try:
                folder = Path(snapshot_download(name, allow_patterns=wanted, **download))
            except Exception as error:  # the Hub's client raises many types
                raise FileNotFoundError(
                    f"no such folder: {name}, and no repository of this name could be loaded "
                    f"from the Hub: {error}"
                ) from error
        config, weights = folder / CONFIG_NAME, folder / SAFETENSORS_SINGLE_FILE
        with torch.device("meta"):
            size = sum(t.nbytes for t in cls._built(config).parameters())
        if weights.is_file() and size > max(MAX_RATIO * weights.stat().st_size, SMALL):
            raise ValueError(
                f"{config} asks for {size / 1e9:.1f} GB of parameters, which {weights} cannot hold"
            )
        with torch.device("cpu"):  # where the parameters are loaded
            module = cls._built(config)
        module._read(weights)
        return module.eval()

    @classmethod
    def _built(cls, path: Path) -> Self:
        """Build a module from a config file."""
        config = read_config(path, cls.__name__)
        try:
            module = cls._build(config["arguments"])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: no {cls.__name__} has these arguments: {error}") from error
        module.about = config["about"]
        return module

    @classmethod
    def _build(cls, arguments: Mapping[str, Any]) -> Self:
        """Build a module from the output of :meth:`arguments`."""
        decoded = {
            name: cls._decoders[name](value) if name in cls._decoders else value
            for name, value in arguments.items()
        }
        return cls(**decoded)

    def _read(self, path: Path) -> None:
        """Load parameters from a file; names and shapes must match.

        Parameters are copied, so the file may change later.
        """
        try:
            self.load_state_dict(load(path.read_bytes()), strict=True, assign=True)
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{path} does not hold the parameters of this {type(self).__name__}: {error}"
            ) from error
