"""``striate kernel`` and ``striate cache``."""

import json

import pytest
import torch

PROBLEM = "2d n2 c16 o32 i14 k3 s1 p1"


@pytest.fixture(autouse=True)
def _a_cache_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_CACHE_DIR", str(tmp_path / "kernels"))


def test_a_kernel_is_shown_from_problem_to_speed(striate):
    before = torch.get_num_threads()
    text = striate("kernel", PROBLEM, "--threads", 1).stdout
    for line in (
        "problem    2d n2 c16 o32 i14 k3 s1 p1",
        "pass       forward, channels last, float32",
        "numbers    input 6,272, weight 4,608, output 12,544",
        "work       1,806,336 multiply-adds on at least 91.5 KiB",
        "chosen; estimated:",
        "The idea",
        "compiled    in ",
        "inner loop  ",
        "on 1 thread ",
        "if only multiply-adds took time",
        "What binds: the ",
    ):
        assert line in text
    assert "machine code" not in text
    assert torch.get_num_threads() == before


def test_the_code_is_shown_where_it_is_asked_for(striate):
    text = striate("kernel", PROBLEM, "--llvm", "--asm").stdout
    assert "The inner loop in machine code" in text
    assert "define internal void" in text


def test_pass_layout_and_target_can_be_given(striate):
    done = striate("kernel", PROBLEM, "--layout", "channels_last", "--target", "neon", "--asm").stdout
    assert "nothing was measured" in done
    assert "fmla" in done
    told = json.loads(striate("kernel", f"{PROBLEM} contiguous", "--pass", "grad_input", "--json").stdout)
    assert told["problem"] == f"{PROBLEM} grad_input contiguous"


def test_json_has_every_number(striate):
    told = json.loads(striate("kernel", PROBLEM, "--threads", 1, "--json", "--asm", "--llvm").stdout)
    assert told["macs"] == 1806336
    assert told["binding"] in {"arithmetic", "bandwidth"}
    assert told["measured_ms"] > 0
    assert told["candidates"]
    assert told["inner_loop"]["multiply_adds"] > 0
    assert isinstance(told["asm"], list)
    assert "define" in told["llvm"]
    assert "asm" not in json.loads(striate("kernel", PROBLEM, "--threads", 1, "--json").stdout)


def test_what_no_algorithm_can_compute_is_said(striate, monkeypatch):
    monkeypatch.setattr("striate.compiler.choose.ALGORITHMS", ())
    assert "no algorithm can; PyTorch computes it" in striate("kernel", PROBLEM).stdout
    assert json.loads(striate("kernel", PROBLEM, "--json").stdout)["algorithm"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["2d n8 c64"],
            "Expected a convolution such as '2d n8 c64 o64 i56 k3 s1 p1'; received '2d n8 c64'. Add o, i, k",
        ),
        (["4d n8"], "received '4d n8', at '4d'. Begin with 1d, 2d or 3d."),
        (["2d n1 c3 o4 i2 k5 s1 p0"], "Expected a padded input of at least 5"),
        ([PROBLEM, "--algorithm", "nonsense"], "Expected the name of an algorithm; received 'nonsense'."),
    ],
)
def test_bad_input(refused, words, message):
    assert message in refused("kernel", *words)


def test_the_cache_is_shown_and_cleared(striate, tmp_path):
    empty = json.loads(striate("cache", "--json").stdout)
    assert empty == {
        "folder": str(tmp_path / "kernels"),
        "kernels": 0,
        "bytes": 0,
        "limit_bytes": 256 << 20,
        "measurements": 0,
    }
    (tmp_path / "kernels").mkdir(mode=0o700)
    (tmp_path / "kernels" / "a.o").write_bytes(bytes(2048))
    (tmp_path / "kernels" / "b.json").write_text("{}")
    text = striate("cache").stdout
    assert "kernels       1" in text
    assert "size          2.0 KiB of at most 256.0 MiB" in text
    assert "measurements  1" in text
    assert striate("cache", "--clear").stdout.startswith("Removed 1 kernel and 1 measurement from ")
    assert json.loads(striate("cache", "--clear", "--json").stdout)["removed"] == {"kernels": 0, "measurements": 0}
