"""What prediction needs besides weights: the network's arguments, the class names and the preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from striate.data import Preprocessing
from striate.errors import CheckpointError, InputError, ModelError
from striate.models import create_model, model_entry
from striate.train.folder import NETWORK, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from striate.data import Dataset
    from striate.train.config import RunConfig


class Network(BaseModel):
    """A network's description, as ``network.json`` holds it.

    ``options`` are the model's own, with the ``input_size`` of the data where the model takes one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    spatial_dims: int = Field(ge=1, le=3)
    in_channels: int = Field(ge=1)
    options: dict[str, Any]
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: dict[str, Any]

    @classmethod
    def of(cls, config: RunConfig, dataset: Dataset) -> Network:
        """Describe the network that a configuration names, for the given data. Raises `ModelError`.

        >>> from striate.data import load_data
        >>> from striate.train import RunConfig
        >>> config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits"}})
        >>> Network.of(config, load_data("digits")).options
        {'input_size': [8, 8]}
        """
        entry = model_entry(config.model.name)
        rank = dataset.spatial_dims
        trainable = (
            f"Training knows the networks that classify signals, images or volumes; "
            f"`striate models --task classification --rank {rank}` lists those for this data."
        )
        if entry.task != "classification":
            raise ModelError("a network that classifies", f"{entry.name}, made for {entry.task}", trainable)
        if entry.input_kind != "values":
            raise ModelError("a network that takes values", f"{entry.name}, which takes {entry.input_kind}", trainable)
        if entry.learns_by != "gradients":
            way = entry.learns_by.partition(",")[0]
            raise ModelError("a network that learns by gradients", f"{entry.name}, which learns by {way}", trainable)
        if rank not in entry.spatial_dims:
            raise ModelError(
                f"a network that exists in {rank}-D, as the data is",
                f"{entry.name} in {' or '.join(f'{each}-D' for each in entry.spatial_dims)}",
                trainable,
            )
        options = dict(config.model.options)
        if "input_size" in entry.options:
            options = {"input_size": list(dataset.input_size)} | options
        given = {
            "spatial_dims": rank,
            "in_channels": dataset.in_channels,
            "num_classes": len(dataset.classes),
        }
        for name, value in given.items():
            if options.pop(name, value) != value:
                raise ModelError(
                    f"{name}={value}, as the data has it",
                    f"model.options.{name}={config.model.options[name]!r}",
                    "Leave it out, or change the data's size and channels instead.",
                )
        return cls(
            name=entry.name,
            spatial_dims=rank,
            in_channels=dataset.in_channels,
            options=options,
            classes=dataset.classes,
            preprocessing=Preprocessing.fit(dataset).to_dict(),
        )

    def build(self) -> nn.Module:
        """Make the network with fresh weights. Raises `ModelError` for arguments it cannot take."""
        return create_model(
            self.name,
            spatial_dims=self.spatial_dims,
            in_channels=self.in_channels,
            num_classes=len(self.classes),
            **{name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()},
        )

    def save(self, folder: Path) -> None:
        """Write ``network.json``."""
        write_json(self.model_dump(mode="json"), folder / NETWORK)

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read ``network.json``. Raises `CheckpointError` for one that is missing or does not describe a network."""
        content = read_json(folder / NETWORK)
        try:
            network = cls(**content)
            Preprocessing.from_dict(network.preprocessing)
            # On the meta device nothing is allocated, so that a forged size costs nothing.
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                network.build()
        except (ValidationError, InputError, TypeError, ValueError, RuntimeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).rstrip(".")
            raise CheckpointError(
                "the description of a network", f"{folder / NETWORK}: {reason}", "Resume the run, or train again."
            ) from error
        return network
