"""What prediction needs besides weights: the network's arguments, the names of its outputs, and the preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from striate.data import Preprocessing
from striate.data.dataset import Task
from striate.errors import CheckpointError, InputError, ModelError
from striate.geometry import per_axis
from striate.models import create_model, model_entry
from striate.models.weights import load_weights
from striate.train.folder import BEST, CONFIG, NETWORK, read_json, write_json
from striate.train.regularisation import as_options
from striate.train.tasks import TRAINING

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from striate.data import Dataset, Samples
    from striate.models.registry import ModelEntry
    from striate.models.weights import WeightsReport
    from striate.train.config import ModelSettings, RunConfig

FORMAT = 2
"""The number of the layout of ``network.json``; a file with another number is refused."""


class Network(BaseModel):
    """A network's description, as ``network.json`` holds it.

    ``options`` are the model's own, with the ``input_size`` of the data where the model takes one. ``outputs`` is how
    many numbers it puts out, which ``classes`` names (for verification, whose network learned to tell so many people
    apart, they are the first of them). ``target_mean`` and ``target_std`` are those of regression's targets over the
    training part, one per output: the network works in units of these. ``void`` is the label of positions that do not
    count, ``vocabulary`` the words that tokens stand for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    format: Literal[2] = 2
    task: Task
    name: str
    spatial_dims: int = Field(ge=1, le=3)
    in_channels: int = Field(ge=1)
    input_kind: Literal["values", "tokens"]
    options: dict[str, Any]
    outputs: int = Field(ge=1)
    classes: tuple[str, ...] = Field(min_length=1)
    vocabulary: tuple[str, ...] = ()
    void: int | None = None
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
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
        _check_serves(entry, dataset)
        options = dict(config.model.options)
        if "input_size" in entry.options:
            options = {"input_size": list(dataset.input_size)} | options
        given = {
            "spatial_dims": dataset.spatial_dims,
            "in_channels": dataset.in_channels,
            "num_classes": dataset.outputs,
        }
        if dataset.vectors is not None:
            if "vectors" not in entry.options:
                raise ModelError(
                    "a network that takes word vectors",
                    f"{entry.name}, which does not",
                    "Leave data.options.vectors out, or use a text_cnn.",
                )
            options = {"embedding_dim": dataset.vectors.shape[1]} | options
        for name, value in given.items():
            if options.pop(name, value) != value:
                raise ModelError(
                    f"{name}={value}, as the data has it",
                    f"model.options.{name}={config.model.options[name]!r}",
                    "Leave it out, or change the data's size and channels instead.",
                )
        mean, std = _moments(dataset.train.labels) if dataset.task == "regression" else ((), ())
        return cls(
            task=dataset.task,
            name=entry.name,
            spatial_dims=dataset.spatial_dims,
            in_channels=dataset.in_channels,
            input_kind=dataset.input_kind,
            options=options | as_options(config.model, entry),
            outputs=dataset.outputs,
            classes=dataset.classes,
            vocabulary=dataset.vocabulary,
            void=dataset.void,
            target_mean=mean,
            target_std=std,
            preprocessing=Preprocessing.fit(dataset).to_dict(),
        )

    def build(self, vectors: Tensor | None = None) -> nn.Module:
        """Make the network with fresh weights, and the word vectors given. Raises `ModelError` for wrong arguments."""
        given = {} if vectors is None else {"vectors": vectors}
        return create_model(
            self.name,
            spatial_dims=self.spatial_dims,
            in_channels=self.in_channels,
            num_classes=self.outputs,
            **{name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()},
            **given,
        )

    def scaled(self, targets: Tensor) -> Tensor:
        """Targets in the units that the network learns: regression's at mean 0 and deviation 1, all others as given."""
        if self.task != "regression":
            return targets
        return (targets - targets.new_tensor(self.target_mean)) / targets.new_tensor(self.target_std)

    def unscaled(self, outputs: Tensor) -> Tensor:
        """Outputs in the units of the data: the inverse of `scaled`."""
        if self.task != "regression":
            return outputs
        return outputs * outputs.new_tensor(self.target_std) + outputs.new_tensor(self.target_mean)

    def try_out(self, model: nn.Module, preprocessing: Preprocessing, samples: Samples, fabric: Fabric) -> None:
        """Run a network once on the first samples, and check that it takes them and puts out what the task needs.

        Raises `ModelError`.
        """
        inputs, targets = samples.fetch(range(min(2, len(samples))))
        model.eval()
        with torch.no_grad():
            self.check_outputs(model(preprocessing(fabric.to_device(inputs))), targets)

    def check_outputs(self, outputs: Tensor, targets: Tensor) -> None:
        """Check that outputs have the shape that the task needs. Raises `ModelError`."""
        positions = tuple(targets.shape[-self.spatial_dims :]) if self.task == "segmentation" else ()
        wanted = (len(targets), self.outputs, *positions)
        if tuple(outputs.shape) != wanted:
            remedy = "Choose another network (see `striate models`)."
            if self.task == "segmentation" and outputs.shape[:2] == wanted[:2]:
                remedy = "Pad the network (model.options.padding='same'), or give it a data.image_size that it keeps."
            raise ModelError(f"outputs of shape {wanted}", f"{tuple(outputs.shape)} from {self.name}", remedy)

    def check(self) -> None:
        """Check that the numbers of outputs, names and scales belong together. Raises `ValueError`."""
        fewest = 2 if self.task in ("classification", "segmentation", "verification") else 1
        if len(self.classes) < fewest:
            raise ValueError(f"classes should have at least {fewest} items for {self.task}")
        if len(self.classes) < self.outputs or (self.task != "verification" and len(self.classes) > self.outputs):
            raise ValueError(f"classes should name the {self.outputs} outputs, not {len(self.classes)}")
        scales = self.outputs if self.task == "regression" else 0
        if {len(self.target_mean), len(self.target_std)} != {scales} or not all(std > 0 for std in self.target_std):
            raise ValueError(f"target_mean and target_std should be {scales} numbers each, deviations above 0")

    def save(self, folder: Path) -> None:
        """Write ``network.json``."""
        write_json(self.model_dump(mode="json"), folder / NETWORK)

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read ``network.json``. Raises `CheckpointError` for one that is missing or does not describe a network."""
        content = read_json(folder / NETWORK)
        if content.get("format") != FORMAT:
            found = f"format {content['format']!r}" if "format" in content else "format 1"
            raise CheckpointError(
                f"the description of a network in format {FORMAT}",
                f"{folder / NETWORK} in {found}",
                "Use the version of Striate that wrote it, or train again.",
            )
        try:
            network = cls(**content)
            Preprocessing.from_dict(network.preprocessing)
            network.check()
            # On the meta device nothing is allocated, so that a forged size costs nothing.
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                network.build()
        except (ValidationError, InputError, TypeError, ValueError, RuntimeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).rstrip(".")
            raise CheckpointError(
                "the description of a network", f"{folder / NETWORK}: {reason}", "Resume the run, or train again."
            ) from error
        return network


def shortest_text(model: ModelSettings) -> int:
    """How many tokens a network takes at least; 1 for one that takes no tokens. Raises `ModelError`.

    >>> from striate.train.config import ModelSettings
    >>> shortest_text(ModelSettings(name="char_cnn_small")), shortest_text(ModelSettings(name="lenet"))
    (123, 1)
    """
    entry = model_entry(model.name)
    if entry.input_kind != "tokens":
        return 1
    asked = per_axis("input_size", model.options.get("input_size", 1), 1)
    return max(*asked, *entry.smallest_size(1))


def load_initial(model: nn.Module, weights: str) -> WeightsReport:
    """Load the best weights of a run, or those of a file, into a network, as far as they fit.

    Raises `CheckpointError` for files that are missing, damaged or of another network.
    """
    path = Path(weights)
    return load_weights(model, path / BEST if (path / CONFIG).exists() else path)


def _check_serves(entry: ModelEntry, dataset: Dataset) -> None:
    rank, wanted = dataset.spatial_dims, TRAINING[dataset.task].networks
    listed = f"`striate models --task {wanted[0]} --rank {rank}` lists those for this data."
    if entry.task not in wanted:
        kind = "one class per position" if dataset.task == "segmentation" else "one answer per input"
        raise ModelError(
            f"a network that gives {kind}, for {dataset.task}", f"{entry.name}, made for {entry.task}", listed
        )
    if entry.input_kind != dataset.input_kind:
        raise ModelError(
            f"a network that takes {dataset.input_kind}", f"{entry.name}, which takes {entry.input_kind}", listed
        )
    if entry.input_kind == "tokens" and dataset.input_size < entry.smallest_size(1):
        (fewest,), (length,) = entry.smallest_size(1), dataset.input_size
        raise ModelError(
            f"texts of at least {fewest} tokens, which {entry.name} takes",
            f"{length} in {dataset.source}",
            f"Fill them up (the option min_length={fewest} of texts), or choose another network.",
        )
    if entry.learns_by != "gradients":
        way = entry.learns_by.partition(",")[0]
        raise ModelError("a network that learns by gradients", f"{entry.name}, which learns by {way}", listed)
    if rank not in entry.spatial_dims:
        raise ModelError(
            f"a network that exists in {rank}-D, as the data is",
            f"{entry.name} in {' or '.join(f'{each}-D' for each in entry.spatial_dims)}",
            listed,
        )


def _moments(targets: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each number to predict; one that never changes has the deviation 1."""
    values = targets.double()
    std = values.std(dim=0, correction=0)
    return tuple(values.mean(dim=0).tolist()), tuple(torch.where(std > 0, std, 1.0).tolist())
