"""What the tests of several processes run in each of them: ``python together.py TASK FOLDER``.

The first process writes what it finds to ``FOLDER``. Without arguments it serves: most of what a pair of processes
takes is to import everything, and pairs that are forked from one process do without.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from striate.data import Dataset, TensorSamples
from striate.errors import DataError, StriateError
from striate.models.registry import register
from striate.train import Quiet, RunConfig, fit, sharding
from striate.train.processes import follows, launch

if TYPE_CHECKING:
    from collections.abc import Iterator


def net(
    spatial_dims: int, in_channels: int, num_classes: int, *, norm: bool = False, dropout: float = 0.0
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1, bias=not norm),
        nn.BatchNorm2d(4) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def masks(spatial_dims: int, in_channels: int, num_classes: int, *, norm: bool = False) -> nn.Module:
    middle = nn.BatchNorm2d(4) if norm else nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), middle, nn.ReLU(), nn.Conv2d(4, num_classes, 1))


def register_networks() -> None:
    known = {"summary": "For tests", "paper": "", "year": 2000, "input_size": 4, "min_input_size": 2}
    register(spatial_dims=(2,), **known)(net)
    register(spatial_dims=(2,), task="segmentation", **known)(masks)


def samples(count: int, seed: int, kind: str) -> TensorSamples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    inputs = torch.randint(0, 90, (count, 1, 4, 4), generator=generator)
    inputs[torch.arange(count), 0, labels] += 120
    targets = labels
    if kind == "segmentation":
        targets = (inputs[:, 0] > 40).long() + (inputs[:, 0] > 110).long()
        targets[torch.rand(targets.shape, generator=generator) < 0.3] = 9
    return TensorSamples(inputs.to(torch.uint8), targets, lambda index: f"item {index}")


def dataset(kind: str = "classification", train: TensorSamples | None = None, count: int = 53) -> Dataset:
    return Dataset(
        source="rows",
        kind="memory",
        reason="made here",
        classes=("top", "middle", "low"),
        train=samples(count, 1, kind) if train is None else train,
        val=samples(17, 2, kind),
        test=None,
        value_scale=255.0,
        official=(),
        stored_sizes={(4, 4): 70},
        task=kind,
        void=9 if kind == "segmentation" else None,
    )


def config(**changes: Any) -> RunConfig:
    usual: dict[str, Any] = {
        "model": {"name": "net"},
        "data": {"source": "rows"},
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "devices": 2,
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "schedule": "constant",
    }
    return RunConfig.from_dict(usual | changes)


SAME: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm": {"model": {"name": "net", "options": {"norm": True}}},
    "uneven": {"batch_size": 7, "accumulate": 3, "sampling": "balanced", "gradient_clip": 0.5},
    "weights": {"loss": {"name": "focal", "class_weights": "balanced"}, "optimizer": {"name": "sgd", "l2": 0.01}},
    "mixed": {"augmentation": [{"name": "crop", "padding": 1}, {"name": "mixup", "alpha": 1.0}]},
    "averaged": {"averaging": {"name": "swa", "start": 0.0}, "model": {"name": "net", "options": {"norm": True}}},
    "frozen": {
        "fine_tuning": {"freeze": ["0"], "unfreeze_after": 1},
        "averaging": {"name": "ema"},
        "optimizer": {"name": "sgd", "momentum": 0.0, "learning_rate": 0.05},
    },
    "masks": {"model": {"name": "masks", "options": {"norm": True}}, "loss": "dice_cross_entropy"},
    "masks weighed": {"model": "masks", "loss": {"name": "cross_entropy", "class_weights": "balanced"}},
}
"""Runs that are the same with one process and with two. The last step of each is of five samples, or fewer."""


SHARDED = {name: SAME[name] for name in ("plain", "norm", "uneven", "weights", "mixed", "masks")} | {
    "frozen": {"fine_tuning": {"freeze": ["0"]}},
    "adam": {"optimizer": {"name": "adamw", "l1": 0.01, "learning_rate": 0.01}},
}
"""Runs that are the same with one process and with weights spread over two."""


def data_of(name: str) -> Dataset:
    return dataset("segmentation" if name.startswith("masks") else "classification", count=49 if name == "norm" else 53)


def same(folder: Path) -> None:
    """Train every run of SAME."""
    for name, changes in SAME.items():
        run = fit(config(**changes), folder / name, dataset=data_of(name), reporter=Quiet())
        assert run.finished, "every process gets the run"


def sharded(folder: Path) -> None:
    """Weights that are spread over both processes: in halves, trained like whole ones, and exactly resumed."""
    sharding._LEAST = 50  # so that these small networks have several units
    with launch(config(strategy="fsdp")) as processes:
        module = net(2, 1, 3, norm=True)
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        processes.fabric.setup_module(module)
        kept = [parameter.to_local().numel() for parameter in module.parameters()]
        counts = [parameter.numel() for parameter in module.parameters()]
        assert [sum(parts) for parts in zip(*processes.gathered(kept), strict=True)] == counts
        assert sum(kept) < 0.7 * sum(counts)
        assert [type(layer).__name__ for layer in module.modules() if isinstance(layer, FSDPModule)] == [
            "FSDPSequential",
            "FSDPLinear",
        ]
        whole, _ = processes.whole(module, torch.optim.SGD(module.parameters()))
        again = whole.state_dict()
        assert again.keys() == (before.keys() if processes.first else set())
        assert all(torch.equal(tensor, before[name]) for name, tensor in again.items())
    for name, changes in SHARDED.items():
        fit(config(strategy="fsdp", **changes), folder / name, dataset=data_of(name), reporter=Quiet())

    fit(config(**HARD_SHARDED), folder / "whole", dataset=dataset(), reporter=Quiet())
    fit(config(**HARD_SHARDED), folder / "cut", dataset=dataset(), reporter=Quiet(), resume=True)


def sharded_interrupted(folder: Path) -> None:
    """The same with `interrupted`, for `sharded` to resume."""
    sharding._LEAST = 50
    interrupted(folder, HARD_SHARDED)


def normalised(folder: Path) -> None:
    """Batch norm over uneven pieces, one of which does not count, and its gradients, in float64."""
    from striate.nn.synchronised import synchronise, uncounted

    with launch(config()) as processes:
        whole = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 3 + 10
        found: dict[str, Any] = {}
        for name, cut in {"uneven": 3, "one empty": 7}.items():
            layer = nn.BatchNorm1d(3).double()
            torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(1))
            assert synchronise(layer) == 1
            piece = (whole[:cut] if processes.first else whole[cut:]).clone()
            counts = len(piece) > 0
            piece = (piece if counts else whole[:1].clone()).requires_grad_()
            if counts:
                output = layer(piece)
                output.pow(3).sum().backward()
            else:
                with uncounted():
                    (layer(piece).sum() * 0).backward()
            parts = processes.gathered((output.detach(), piece.grad) if counts else None)
            gradients = processes.gathered((layer.weight.grad, layer.bias.grad))
            told = [part for part in parts if part is not None]
            found[name] = {
                "output": torch.cat([output for output, _ in told]),
                "input": torch.cat([gradient for _, gradient in told]),
                "weight": sum(weight for weight, _ in gradients),
                "bias": sum(bias for _, bias in gradients),
                "state": layer.state_dict(),
            }
            if not counts:
                assert piece.grad is not None
                assert not piece.grad.any()
    if not follows():
        torch.save({"whole": whole, "found": found}, folder / "normalised.pt")


class ActAtFetch(TensorSamples):
    """Does something at the n-th batch that one of the processes fetches."""

    def __init__(self, inner: TensorSamples, fetches: int, action: Any) -> None:
        super().__init__(inner.inputs, inner.targets, inner.name)
        self._left, self._action = fetches, action

    def fetch(self, indices: Any) -> Any:
        if isinstance(indices, torch.Tensor):  # not that of the try-out
            self._left -= 1
            if self._left == 0:
                self._action()
        return super().fetch(indices)


HARD: dict[str, Any] = {
    "model": {"name": "net", "options": {"norm": True, "dropout": 0.3}},
    "data": {"source": "rows", "workers": 1},
    "epochs": 3,
    "augmentation": [{"name": "crop", "padding": 1}, {"name": "mixup"}],
    "averaging": "ema",
    "optimizer": {"name": "adamw", "learning_rate": 0.01},
}


HARD_SHARDED = HARD | {"strategy": "fsdp", "averaging": "none"}


def on_second(action: Any) -> Any:
    def act() -> None:
        if follows():
            action()

    return act


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def fail() -> None:
    raise DataError("a whole file", "item 7, which is torn", "Mend it.")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def told(folder: Path, code: int) -> Iterator[None]:
    """Write down the error that the first process raises, and end with ``code``; the others end before."""
    try:
        yield
    except StriateError as error:
        (folder / "told").write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(code) from None


def interrupted(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """The second process alone is asked to stop, in the middle of an epoch."""
    data = dataset(train=ActAtFetch(samples(53, 1, ""), 9, on_second(terminate)))
    with told(folder, 3):
        fit(config(**(changes or HARD) | {"data": {"source": "rows"}}), folder / "cut", dataset=data, reporter=Quiet())


def broken(folder: Path) -> None:
    """The second process alone fails."""
    data = dataset(train=ActAtFetch(samples(53, 1, ""), 3, on_second(fail)))
    with told(folder, 2):
        fit(config(), folder / "broken", dataset=data, reporter=Quiet())


def other_data(folder: Path) -> None:
    """The second process has other data than the first."""
    with told(folder, 2):
        fit(config(), folder / "other", dataset=dataset(count=53 - int(os.environ["RANK"])), reporter=Quiet())


def whole(folder: Path) -> None:
    """A run with everything that can go wrong when it is resumed, never stopped; and the one that was, resumed."""
    fit(config(**HARD), folder / "whole", dataset=dataset(), reporter=Quiet())
    fit(config(**HARD), folder / "cut", dataset=dataset(), reporter=Quiet(), resume=True)


def killed(folder: Path) -> None:
    """One process kills itself, the first time; ``torchrun`` starts all again."""
    first_time = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    data = dataset(train=ActAtFetch(samples(53, 1, ""), 11, on_second(kill))) if first_time else dataset()
    changes = HARD | {"data": {"source": "rows"}, "checkpoint_seconds": 0.0, "devices": 1}
    with told(folder, 1):
        fit(config(**changes), folder / "killed", dataset=data, reporter=Quiet())


TASKS = {
    task.__name__: task
    for task in (same, sharded, sharded_interrupted, normalised, interrupted, broken, other_data, whole, killed)
}


def serve() -> None:
    """Fork two processes for each line read, with the environment that torchrun would give, and tell how they end."""
    for line in sys.stdin:
        asked = json.loads(line)
        pair = [os.fork() or take_part(rank, **asked) for rank in range(2)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in pair]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


def take_part(rank: int, task: str, folder: str, environment: dict[str, str]) -> NoReturn:
    """Run a task in a process that was forked, and end it."""
    signal.alarm(100)  # for those that wait for each other
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    with Path(folder, f"output-{rank}").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = 1
    try:
        TASKS[task](Path(folder))
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    register_networks()
    if len(sys.argv) == 1:
        serve()
    else:
        TASKS[sys.argv[1]](Path(sys.argv[2]))
