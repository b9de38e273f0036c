"""What a run does, compared with a loop written out by hand."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from striate.data import Preprocessing, TensorSamples
from striate.errors import CheckpointError, ConfigError, DivergedError, ModelError, RunError, StoppedError
from striate.models import create_model
from striate.models.outputs import WithAuxiliary
from striate.models.registry import register, unregister
from striate.train import Quiet, Run, RunConfig, fit
from striate.train.feed import batch_bounds
from striate.train.folder import claimed
from striate.train.loop import load
from striate.train.randomness import epoch_order


def by_hand(dataset: Any, config: Any, make_optimizer: Any, each_step: Any = lambda model: None) -> Any:
    """Train as any tutorial does, and return the weights and (loss, accuracy) per epoch."""
    torch.manual_seed(config.seed)
    model = create_model("tiny", in_channels=1, num_classes=3)
    optimizer = make_optimizer(model)
    preprocessing = Preprocessing.fit(dataset)
    table = []
    for epoch in range(config.epochs):
        model.train()
        order = epoch_order(len(dataset.train), config.seed, epoch)
        losses, right = 0.0, 0
        for start, end in batch_bounds(len(dataset.train), config.batch_size):
            inputs, labels = dataset.train.fetch(order[start:end])
            logits = model(preprocessing(inputs))
            loss = torch.nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            each_step(model)
            optimizer.step()
            losses += loss.item() * len(labels)
            right += int((logits.argmax(1) == labels).sum())
        model.eval()
        with torch.no_grad():
            logits = model(preprocessing(dataset.val.inputs))
        table.append(
            (
                losses / len(dataset.train),
                right / len(dataset.train),
                torch.nn.functional.cross_entropy(logits, dataset.val.labels).item(),
                (logits.argmax(1) == dataset.val.labels).double().mean().item(),
            )
        )
    return model.state_dict(), table


class TwoHeads(torch.nn.Module):
    """A network with a second head in training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(16, num_classes) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor | WithAuxiliary:
        main, other = (head(x.flatten(1)) for head in self.heads)
        return WithAuxiliary(main, (other,), (0.3,)) if self.training else main


def test_auxiliary_heads_are_trained_and_not_counted(make_config: Any, dataset: Any, folder: Path) -> None:
    @register(summary="", paper="", year=2000, input_size=4, min_input_size=4, spatial_dims=(2,))
    def two_heads(spatial_dims: int, in_channels: int, num_classes: int) -> torch.nn.Module:
        return TwoHeads(num_classes)

    try:
        run = fit(make_config(model="two_heads", epochs=8), folder, dataset=dataset, reporter=Quiet())
        weights = run.model("last").state_dict()
        torch.manual_seed(run.config.seed)
        fresh = TwoHeads(3).state_dict()
    finally:
        unregister("two_heads")
    assert run.best is not None
    assert run.best["val_accuracy"] == 1
    assert all(not torch.equal(weights[name], fresh[name]) for name in weights)


def test_a_run_is_the_loop_of_a_tutorial(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(
        epochs=3, schedule={"name": "constant"}, optimizer={"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    )
    weights, table = by_hand(
        dataset, config, lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    )
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    mine = run.model("last").state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(mine[name], tensor)
    for row, expected in zip(run.metrics, table, strict=True):
        columns = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        assert [row[name] for name in columns] == pytest.approx(expected, rel=1e-5)


def test_clipping_and_penalties_as_by_hand(make_config: Any, dataset: Any, folder: Path) -> None:
    def each_step(model: Any) -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.grad += 0.01 * parameter.detach() + 0.02 * parameter.detach().sign()

    config = make_config(
        schedule={"name": "constant"},
        gradient_clip=0.5,
        optimizer={"name": "sgd", "learning_rate": 0.1, "momentum": 0.0, "l1": 0.02, "l2": 0.01},
    )
    weights, _ = by_hand(dataset, config, lambda model: torch.optim.SGD(model.parameters(), lr=0.1), each_step)
    mine = fit(config, folder, dataset=dataset, reporter=Quiet()).model("last").state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(mine[name], tensor)


def test_it_learns(make_config: Any, dataset: Any, folder: Path) -> None:
    run = fit(make_config(epochs=12), folder, dataset=dataset, reporter=Quiet())
    assert run.best is not None
    assert run.best["val_accuracy"] > 0.9


def test_best_weights_are_those_of_the_best_epoch(make_config: Any, dataset: Any, tmp_path: Path) -> None:
    config = make_config(epochs=5, optimizer={"name": "sgd", "learning_rate": 0.5}, schedule={"name": "constant"})
    run = fit(config, tmp_path / "run", dataset=dataset, reporter=Quiet())
    assert run.best is not None
    key = [(row["val_accuracy"], -row["val_loss"]) for row in run.metrics]
    assert run.best.epoch == key.index(max(key)) + 1
    # Constant schedules make a shorter run the beginning of a longer one.
    if run.best.epoch < 5:
        short = config.model_copy(update={"epochs": run.best.epoch})
        fit(short, tmp_path / "short", dataset=dataset, reporter=Quiet())
        assert (tmp_path / "short" / "last.safetensors").read_bytes() == (
            tmp_path / "run/best.safetensors"
        ).read_bytes()
    assert run.best.epoch < 5, "choose a learning rate at which the best epoch is not the last"


def test_without_validation_the_last_epoch_is_the_best(make_config: Any, made: Any, folder: Path) -> None:
    run = fit(make_config(), folder, dataset=made(val=None), reporter=Quiet())
    assert (folder / "best.safetensors").read_bytes() == (folder / "last.safetensors").read_bytes()
    assert run.best == run.metrics[-1]
    assert list(run.metrics[-1]) == ["train_loss", "train_accuracy"]
    assert run.config.best.metric == "last"


def test_early_stopping(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(epochs=9, early_stopping={"patience": 2, "min_delta": 100.0})
    run = fit(config, folder, dataset=dataset, reporter=Quiet())
    assert (len(run.metrics), run.finished) == (3, "no better val_loss for 2 epochs")


def test_metrics_that_early_stopping_waits_for(make_config: Any, made: Any, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"early_stopping\.metric='val_loss' without validation samples"):
        fit(make_config(early_stopping={"patience": 1}), folder, dataset=made(val=None), reporter=Quiet())
    assert not folder.exists()


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_precisions(make_config: Any, dataset: Any, folder: Path, precision: str) -> None:
    run = fit(make_config(precision=precision), folder, dataset=dataset, reporter=Quiet())
    wanted = {"64-true": torch.float64, "bf16-mixed": torch.float32, "bf16-true": torch.bfloat16}[precision]
    assert load_file(folder / "best.safetensors")["0.weight"].dtype == wanted
    assert all(np.isfinite(row["train_loss"]) for row in run.metrics)


def test_a_loss_that_diverges_is_named(make_config: Any, made: Any, folder: Path) -> None:
    inputs = torch.zeros(20, 1, 4, 4)
    inputs[:, 0, 0, 0] = torch.arange(20.0)
    train = TensorSamples(inputs, torch.arange(20) % 3, lambda index: f"{index}.png")
    config = make_config(schedule={"name": "constant"})
    place = int((epoch_order(20, 0, 0) == 13).nonzero())
    batch = place // 8
    dataset = made(train=train, val=None, value_scale=1.0)

    class Spoiled(TensorSamples):
        def fetch(self, indices: Any) -> Any:
            values, labels = super().fetch(indices)
            if 13 in list(indices) and len(indices) < 20:  # not when the mean is learned
                values = values.clone()
                values[list(indices).index(13)] = float("nan")
            return values, labels

    dataset = made(train=Spoiled(inputs, train.labels, lambda index: f"{index}.png"), val=None, value_scale=1.0)
    with pytest.raises(DivergedError) as error:
        fit(config, folder, dataset=dataset, reporter=Quiet())
    members = epoch_order(20, 0, 0)[batch * 8 : min(batch * 8 + 8, 20)].tolist()
    more = f" and {len(members) - 5} more" if len(members) > 5 else ""
    assert str(error.value) == (
        f"The loss became nan in step {batch + 1} (epoch 1, batch {batch + 1} of 3) at learning rate 0.01; the batch "
        f"held {', '.join(f'{index}.png' for index in members[:5])}{more}. Lower optimizer.learning_rate, set "
        "gradient_clip, or look for broken values in these samples."
    )


def test_the_process_is_left_as_it_was(make_config: Any, dataset: Any, folder: Path) -> None:
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not torch.backends.cudnn.deterministic


def test_training_in_a_thread_leaves_signals_alone(make_config: Any, dataset: Any, folder: Path) -> None:
    thread = threading.Thread(
        target=fit, args=(make_config(), folder), kwargs={"dataset": dataset, "reporter": Quiet()}
    )
    thread.start()
    thread.join()
    assert Run.open(folder).finished == "all 2 epochs"


def test_a_second_ctrl_c_stops_at_once(make_config: Any, dataset: Any, folder: Path) -> None:
    class Twice(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            if step == 3:
                before.append((folder / "checkpoint.pt").read_bytes())
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    before: list[bytes] = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(make_config(checkpoint_seconds=0.0), folder, dataset=dataset, reporter=Twice())
    assert signal.getsignal(signal.SIGINT) == handler
    assert (folder / "checkpoint.pt").read_bytes() == before[0]


def test_an_interruption_says_where(make_config: Any, dataset: Any, folder: Path) -> None:
    class Once(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            if step == 9:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(StoppedError) as stopped:
        fit(make_config(), folder, dataset=dataset, reporter=Once())
    assert str(stopped.value) == (
        "Stopped by SIGINT after step 9 (epoch 2 of 2, batch 2 of 7). The checkpoint is written; go on with "
        f"`striate train --resume {folder}`."
    )
    run = Run.open(folder)
    assert (run.finished, len(run.metrics)) == ("", 1)
    assert run.model("best") is not None


# The folder ----------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_refused(make_config: Any, dataset: Any, folder: Path) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    with pytest.raises(CheckpointError) as error:
        fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a new or empty folder; received {folder}, which holds a run. "
        "Resume that run, or choose another folder."
    )


def test_a_folder_with_other_files_is_refused(make_config: Any, dataset: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.doc").touch()
    with pytest.raises(CheckpointError) as error:
        fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a new or empty folder; received {folder}, which holds thesis.doc. Choose another folder."
    )
    with pytest.raises(CheckpointError) as file:
        fit(make_config(), folder / "thesis.doc", dataset=dataset, reporter=Quiet())
    assert str(file.value) == (
        f"Expected a folder for the run; received the file {folder / 'thesis.doc'}. Choose another folder."
    )


def test_a_folder_in_use_is_refused(make_config: Any, dataset: Any, folder: Path) -> None:
    with claimed(folder, make_config(), resume=False), pytest.raises(CheckpointError) as error:
        fit(make_config(), folder, dataset=dataset, resume=True, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a folder that no other run is using; received {folder}, in use. "
        "Wait for that run, or choose another folder."
    )
    fit(make_config(), folder, dataset=dataset, resume=True, reporter=Quiet())


def test_resuming_with_other_settings_is_refused(make_config: Any, dataset: Any, folder: Path) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    with pytest.raises(ConfigError) as error:
        fit(make_config(epochs=3, batch_size=4), folder, dataset=dataset, resume=True, reporter=Quiet())
    assert str(error.value) == (
        f"Expected the settings that the run in {folder} was started with; received other values of epochs, "
        "batch_size. Resume with the same settings, or start a new run in another folder."
    )
    fit(make_config(checkpoint_seconds=1.0), folder, dataset=dataset, resume=True, reporter=Quiet())


def test_resuming_with_other_data_is_refused(make_config: Any, dataset: Any, made: Any, folder: Path) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    other = made(train=dataset.train.subset(range(52)))
    with pytest.raises(CheckpointError) as error:
        fit(make_config(), folder, dataset=other, resume=True, reporter=Quiet())
    assert str(error.value) == (
        "Expected the data that the run was started with; received other samples, labels or classes than those of "
        f"{folder / 'checkpoint.pt'}. Bring the data back as it was, or start a new run in another folder."
    )


def test_devices_that_are_not_there(make_config: Any, dataset: Any, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as error:
        fit(make_config(device="cuda"), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        "Expected a device that PyTorch finds; received device='cuda'. Use 'auto' or 'cpu', or mend its drivers."
    )


def test_model_options_against_the_data(make_config: Any, dataset: Any, folder: Path) -> None:
    config = make_config(model={"name": "tiny", "options": {"in_channels": 3}})
    with pytest.raises(ModelError) as error:
        fit(config, folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        "Expected in_channels=1, as the data has it; received model.options.in_channels=3. "
        "Leave it out, or change the data's size and channels instead."
    )
    config = make_config(model={"name": "tiny", "options": {"in_channels": 1, "dropout": 0.0}})
    fit(config, folder.with_name("other"), dataset=dataset, reporter=Quiet())


def test_sources_become_absolute(make_config: Any, dataset: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    run = fit(make_config(data={"source": "images"}), tmp_path / "run", dataset=dataset, reporter=Quiet())
    assert run.config.data.source == str(tmp_path / "images")


def test_the_data_of_the_configuration_is_loaded(make_config: Any) -> None:
    config = make_config(data={"source": "digits", "val_fraction": 0.0, "image_size": 10}, seed=3)
    dataset = load(config)
    assert dataset.val is None
    assert dataset.train.item_shape == (1, 10, 10)


def test_memory_limits_change_where_samples_are_kept_and_nothing_else(tmp_path: Path) -> None:
    """A set of files that does not fit in memory is trained on to the same bits, and resumed with another limit."""
    random_images = np.random.default_rng(0)
    for place in range(40):
        path = tmp_path / "images" / "ab"[place % 2] / f"{place:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_images.integers(0, 256, (12, 12), np.uint8)).save(path)

    def config(**data: Any) -> RunConfig:
        data |= {"source": str(tmp_path / "images")}
        return RunConfig.from_dict({"model": "tiny", "data": data, "epochs": 2, "batch_size": 8, "device": "cpu"})

    small, large = config(memory_limit=3000), config()
    assert not load(small).in_memory
    assert load(large).in_memory

    class Interrupt(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            if step == 5:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError):
        fit(small, tmp_path / "small", reporter=Interrupt())
    fit(config(memory_limit=5000), tmp_path / "small", resume=True, reporter=Quiet())
    fit(large, tmp_path / "large", reporter=Quiet())
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (tmp_path / "small" / name).read_bytes() == (tmp_path / "large" / name).read_bytes()


def test_a_built_in_name_wins_over_a_folder_of_that_name(make_config: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    run = fit(make_config(data={"source": "digits"}, epochs=1), tmp_path / "run", reporter=Quiet())
    assert run.config.data.source == "digits"
    assert len(run.classes) == 10


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_network_that_cannot_be_built_leaves_the_folder_free(make_config: Any, dataset: Any, folder: Path) -> None:
    with pytest.raises(ModelError):
        fit(make_config(model={"name": "tiny", "options": {"wings": 2}}), folder, dataset=dataset, reporter=Quiet())
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())


def test_files_that_a_killed_process_was_writing_are_removed(make_config: Any, dataset: Any, folder: Path) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    stale = folder / ".checkpoint.123.partial.pt"
    stale.write_bytes(b"half")
    before = {path.name for path in folder.iterdir()} - {stale.name}
    fit(make_config(), folder, dataset=dataset, resume=True, reporter=Quiet())
    assert {path.name for path in folder.iterdir()} == before


def test_changed_values_and_changed_names_are_other_data(
    make_config: Any, dataset: Any, made: Any, folder: Path
) -> None:
    fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    train = dataset.train
    brighter = TensorSamples(train.inputs.clone(), train.labels, train.name)
    brighter.inputs[0, 0, 0, 0] += 1
    renamed = TensorSamples(train.inputs, train.labels, lambda index: f"other {index}")
    for other in (brighter, renamed):
        with pytest.raises(CheckpointError, match="Expected the data that the run was started with"):
            fit(make_config(), folder, dataset=made(train=other), resume=True, reporter=Quiet())


@pytest.mark.parametrize("beneath", ["run", "a/run"])
def test_a_folder_that_cannot_be_made(make_config: Any, dataset: Any, tmp_path: Path, beneath: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / beneath
    with pytest.raises(CheckpointError) as error:
        fit(make_config(), folder, dataset=dataset, reporter=Quiet())
    assert str(error.value) == (
        f"Expected a folder that can be written to; received {folder}: Not a directory. Choose another folder."
    )


@pytest.mark.parametrize("name", ["checkpoint", "last", "metrics"])
def test_a_full_disk(make_config: Any, dataset: Any, tmp_path: Path, monkeypatch: Any, name: str) -> None:
    """The files are those of the checkpoint before, the message says why, and the run goes on to the same bits."""
    config, folder = make_config(checkpoint_seconds=0.0), tmp_path / "full"
    fit(config, tmp_path / "whole", dataset=dataset, reporter=Quiet())
    write = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.stem == name and (folder / "checkpoint.pt").exists():
            raise OSError(28, "No space left on device")
        return write(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError) as error:
        fit(config, folder, dataset=dataset, reporter=Quiet())
    monkeypatch.undo()
    assert str(error.value) == (
        f"The run in {folder} cannot be written: No space left on device. Every file in it is whole; mend this, and go "
        f"on with `striate train --resume {folder}`."
    )
    assert not [path for path in folder.iterdir() if ".partial" in path.name]
    fit(config, folder, dataset=dataset, resume=True, reporter=Quiet())
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_curves_on_a_full_disk_do_not_wait_for_ever(
    make_config: Any, dataset: Any, folder: Path, monkeypatch: Any
) -> None:
    def full(self: Any, event: Any) -> None:
        raise OSError(28, "No space left on device")

    class Fill(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            monkeypatch.setattr("striate.train.curves.EventsWriter.write_event", full)

    with pytest.raises(RunError, match=r"^The run in .* cannot be written: No space left on device\. "):
        fit(make_config(), folder, dataset=dataset, reporter=Fill())


def test_a_validation_loss_that_diverges_is_named_and_the_best_weights_kept(
    make_config: Any, dataset: Any, made: Any, folder: Path
) -> None:
    class Spoiled(TensorSamples):
        fetches = 0

        def fetch(self, indices: Any) -> Any:
            values, labels = super().fetch(indices)
            self.fetches += 1
            return (values.float() * (float("nan") if self.fetches > 2 else 1.0)), labels

    val = Spoiled(dataset.val.inputs, dataset.val.labels, dataset.val.name)
    with pytest.raises(DivergedError) as error:
        fit(make_config(epochs=3, schedule="constant"), folder, dataset=made(val=val), reporter=Quiet())
    assert str(error.value) == (
        "The validation loss became nan in step 14 (epoch 2, batch 7 of 7) at learning rate 0.01; the batch held "
        "item 0, item 1, item 2, item 3, item 4 and 3 more. Lower optimizer.learning_rate, set gradient_clip, or look "
        "for broken values in these samples."
    )
    assert Run.open(folder).model("best") is not None


def test_resuming_with_other_threads_says_so(make_config: Any, dataset: Any, folder: Path, capsys: Any) -> None:
    class Interrupt(Quiet):
        def stepped(self, step: int, sums: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(StoppedError):
        fit(make_config(), folder, dataset=dataset, reporter=Interrupt())
    torch.set_num_threads(2)
    fit(make_config(), folder, dataset=dataset, resume=True)
    assert capsys.readouterr().out.startswith("Resumed with other threads: the last bits of the result may differ.\n")
