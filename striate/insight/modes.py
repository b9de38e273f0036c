"""Standing between a network and PyTorch's operators, and running it on shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from striate.insight.forward import tensors

if TYPE_CHECKING:
    import torch


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch leaves __init_subclass__ unannotated
    """A mode that sees every operator, without loading PyTorch's compiler to keep it out, which takes a second."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Shapes(OperatorMode):  # type: ignore[no-untyped-call]  # as above
    """Runs operators on tensors of the meta device, which have a shape and a type but no memory.

    What meets such a tensor is taken to the meta device too: the masks, tables and positions that a model makes or
    keeps for itself, on whatever device it names. Operators on those alone are computed, so that their values can be
    asked for.
    """

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        kwargs = kwargs or {}
        if any(tensor.is_meta for tensor in tensors((args, kwargs))):
            args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
            if kwargs.get("device") is not None:
                kwargs["device"] = "meta"
        return func(*args, **kwargs)
