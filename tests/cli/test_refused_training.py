"""What `striate train` refuses leaves no folder, wherever it is refused."""

import numpy as np
import pytest
from PIL import Image

WRONG = {
    "no such network": ["tony", "-d", "digits28"],
    "no such option of the command": ["lenet", "-d", "digits28", "--epoch", 1],
    "no number": ["lenet", "-d", "digits28", "--epochs", "x"],
    "no such setting": ["lenet", "-d", "digits28", "--set", "epoch=1"],
    "no such option of the network": ["lenet", "-d", "digits28", "--option", "levels=3"],
    "no such option of the data": ["lenet", "-d", "digits28", "--data-option", "window=3"],
    "no such data": ["lenet", "-d", "nowhere"],
    "damaged data": ["lenet", "-d", "damaged"],
    "network of another rank": ["tcn", "-d", "digits28"],
    "network of another task": ["unet", "-d", "digits28"],
    "inputs too small": ["alexnet", "-d", "digits"],
    "no such weights": ["lenet", "-d", "digits28", "--from", "nowhere"],
    "nothing to freeze": ["lenet", "-d", "digits28", "--freeze", "no_such_layer"],
    "no such teacher": ["lenet", "-d", "digits28", "--teacher", "nowhere"],
    "no such augmentation": ["lenet", "-d", "digits28", "--augment", "flop"],
    "augmentation of another kind": ["lenet", "-d", "digits28", "--augment", "word_swap"],
    "loss of another task": ["lenet", "-d", "digits28", "--loss", "huber"],
    "weights of other classes": ["lenet", "-d", "digits28", "--class-weights", "1,2"],
    "metric of another task": ["lenet", "-d", "digits28", "--best", "val_mae"],
    "no such configuration": ["--config", "nowhere.toml"],
    "nothing to resume": ["--resume", "nowhere"],
    "no learning rate found": ["lenet", "-d", "digits28", "--find-lr", "--option", "levels=3"],
}


@pytest.fixture
def damaged(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "damaged" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "damaged" / name / "1.png")
    (tmp_path / "damaged" / "b" / "2.png").write_bytes(b"nothing")


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("out", [[], ["--out", "deep/er/run"]], ids=["usual", "out"])
def test_nothing_is_left(striate, damaged, tmp_path, case, out):
    before = sorted(tmp_path.rglob("*"))
    words = [*WRONG[case], *([] if "--resume" in WRONG[case] else out)]
    done = striate("train", *words)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_made(striate, tmp_path):
    (tmp_path / "file").write_text("")
    done = striate("train", "lenet", "-d", "digits28", "--out", "file/run")
    assert done.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
