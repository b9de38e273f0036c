"""Networks whose weights are spread over all processes, because one device cannot hold them: PyTorch's FSDP.

Each process keeps a part of every weight and of what the optimiser remembers of it, and gets the rest of a layer when
it is computed. Checkpoints and files of weights hold them whole, as those of other runs do, so that a run may go on
with one strategy or the other. Source: Zhao and others, PyTorch FSDP: experiences on scaling fully sharded data
parallel, 2023.
"""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.strategies.fsdp import FSDPStrategy

from striate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from striate.train.config import RunConfig

_LEAST = 2**20  # parameters of a unit that is fetched at once


class Sharding(FSDPStrategy):
    """Fabric's FSDP strategy, with units of a million parameters or more."""

    def __init__(self) -> None:
        from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

        policy = functools.partial(size_based_auto_wrap_policy, min_num_params=_LEAST)
        super().__init__(auto_wrap_policy=policy, state_dict_type="full")


def check_sharding(config: RunConfig) -> None:
    """Check that what a run asks for can be had with weights in parts. Raises `ConfigError`."""
    if config.device not in ("auto", "cuda") or not torch.cuda.is_available():
        raise ConfigError(
            "GPUs for strategy='fsdp'",
            f"strategy='fsdp' with device={config.device!r}",
            "Use strategy='ddp': PyTorch spreads weights over GPUs only.",
        )
    if config.averaging.name != "none":
        raise ConfigError(
            "averaging='none' with strategy='fsdp'",
            f"averaging={config.averaging.name!r}",
            "A copy of the weights is what does not fit; train with 'ddp' if it does.",
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

        with _quietly():
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            weights: Any = get_model_state_dict(self._model, options=options)
            return dict(weights)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take weights, which every process has to have whole."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        with _quietly():
            set_model_state_dict(self._model, dict(state), options=StateDictOptions(full_state_dict=True))


class WholeOptimizer:
    """What an optimiser of a sharded network remembers, as if it were in one place and with numbers for parameters."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        named = {parameter: _plain(name) for name, parameter in model.named_parameters()}
        groups = optimizer.param_groups
        self._names = [named[parameter] for group in groups for parameter in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of `torch.optim.Optimizer.state_dict`."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        with _quietly():
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
        with _quietly():
            whole: Any = {"state": named, "param_groups": groups}
            set_optimizer_state_dict(
                self._model, self._optimizer, whole, options=StateDictOptions(full_state_dict=True)
            )


def _plain(name: str) -> str:
    return name.replace("_fsdp_wrapped_module.", "").removeprefix("module.")


@contextmanager
def _quietly() -> Iterator[None]:
    """Do without PyTorch's notes on how it does this inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
