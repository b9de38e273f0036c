"""Networks whose weights are spread over all processes, because one device cannot hold them: PyTorch's FSDP.

Each process keeps a part of every weight and of what the optimiser remembers of it, and gets the rest of a layer when
it is computed. Checkpoints and files of weights hold them whole, as those of other runs do, so that a run may go on
with one strategy or the other. Source: Zhao and others, PyTorch FSDP: experiences on scaling fully sharded data
parallel, 2023; this is its second form, `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from striate.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from striate.train.config import RunConfig

_LEAST = 2**20  # parameters of a unit that is fetched at once


class Sharding(ModelParallelStrategy):
    """Fabric's strategy for FSDP over so many ``processes``.

    An optimiser has to be made after the network was set up, whose parameters are others then.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(_spread, data_parallel_size=processes, tensor_parallel_size=1)


def _spread(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    over = mesh["data_parallel"]
    for unit in units(module, _LEAST):
        fully_shard(unit, mesh=over)
    return module


def units(module: nn.Module, least: int) -> list[nn.Module]:
    """The modules whose weights are fetched together, inner ones first; the last is ``module`` itself.

    They have ``least`` parameters or more beside those of units within them. Lists of modules are none, because they
    are not called.

    >>> layers = nn.Sequential(nn.Linear(9, 9), nn.Linear(99, 99), nn.ReLU())
    >>> units(layers, 5000) == [layers[1], layers]
    True
    """
    found: dict[nn.Module, None] = {}

    def parameters_left(part: nn.Module) -> int:
        if part in found:
            return 0
        left = sum(parameter.numel() for parameter in part.parameters(recurse=False))
        left += sum(map(parameters_left, part.children()))
        if left < least or isinstance(part, nn.ModuleList | nn.ModuleDict):
            return left
        found[part] = None
        return 0

    parameters_left(module)
    return list(found | {module: None})


def check_sharding(config: RunConfig) -> None:
    """Check that what a run asks for can be had with weights in parts. Raises `ConfigError`."""
    if config.averaging.name != "none":
        raise ConfigError(
            "averaging='none' with strategy='fsdp'",
            f"averaging={config.averaging.name!r}",
            "A copy of the weights is what does not fit; train with 'ddp' if it does.",
        )
    if config.fine_tuning.unfreeze_after is not None:
        raise ConfigError(
            "no fine_tuning.unfreeze_after with strategy='fsdp'",
            f"fine_tuning.unfreeze_after={config.fine_tuning.unfreeze_after}",
            "What is frozen stays so; go on with another run from these weights, or train with 'ddp'.",
        )
    if config.precision in ("16-mixed", "64-true"):
        raise ConfigError(
            "precision of '32-true', 'bf16-mixed' or 'bf16-true' with strategy='fsdp'",
            f"precision={config.precision!r}",
            "Use bf16-mixed.",
        )


class WholeModel:
    """The weights of a sharded network as if they were in one place. All processes have to ask together.

    The first gets them, on the CPU, and the others nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights under the names that they have in one process."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        _let_go(self._model)
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights: Any = get_model_state_dict(self._model, options=options)
        return dict(weights)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take weights, which every process has to have whole."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        _let_go(self._model)
        set_model_state_dict(self._model, dict(state), options=StateDictOptions(full_state_dict=True))


class WholeOptimizer:
    """What an optimiser of a sharded network remembers, as if it were in one place and with numbers for parameters."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        named = {parameter: name for name, parameter in model.named_parameters()}
        groups = optimizer.param_groups
        self._names = [named[parameter] for group in groups for parameter in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of `torch.optim.Optimizer.state_dict`."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        _let_go(self._model)
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole: dict[str, Any] = get_optimizer_state_dict(self._model, self._optimizer, options=options)
        if not whole:
            return whole
        numbers = {name: number for number, name in enumerate(self._names)}
        groups = [group | {"params": [numbers[name] for name in group["params"]]} for group in whole["param_groups"]]
        return {"state": {numbers[name]: kept for name, kept in whole["state"].items()}, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state, which every process has to have whole."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        groups = [
            group | {"params": [self._names[number] for number in group["params"]]} for group in state["param_groups"]
        ]
        named = {self._names[number]: kept for number, kept in state["state"].items()}
        _let_go(self._model)
        whole: Any = {"state": named, "param_groups": groups}
        set_optimizer_state_dict(self._model, self._optimizer, whole, options=StateDictOptions(full_state_dict=True))


def _let_go(model: nn.Module) -> None:
    """Let go of the weights that the outermost unit still has whole after a pass without gradients.

    PyTorch takes them for those of a network that is not spread.
    """
    for unit in model.modules():
        if isinstance(unit, FSDPModule):
            unit.reshard()
