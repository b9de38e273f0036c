"""Who computes, and who decides: settings, routes, reasons."""

import logging
import subprocess
import sys
import threading

import pytest
import torch

import striate
from striate import ops
from striate.errors import InputError
from striate.ops.compiled import plans, route
from striate.ops.settings import chosen

ONE = {"stride": (1, 1), "pads": ((1, 1), (1, 1)), "dilation": (1, 1)}


def tensors(**options):
    return torch.randn(1, 4, 8, 8, **options), torch.randn(4, 4, 3, 3, **options)


def test_settings_as_functions_and_as_blocks():
    assert chosen.compiled
    with striate.use_compiled(False):
        assert not chosen.compiled
        with striate.use_compiled(True):
            assert chosen.compiled
        assert not chosen.compiled
    striate.use_compiled(False)
    assert not chosen.compiled
    striate.use_compiled(True)
    assert chosen.compiled
    with striate.precision("strict"):
        assert chosen.strict
    assert not chosen.strict
    with pytest.raises(InputError, match="precision to be fast or strict; received precision='exact'"):
        striate.precision("exact")


def test_settings_belong_to_their_thread():
    seen = []
    with striate.use_compiled(False), striate.precision("strict"):
        thread = threading.Thread(target=lambda: seen.append((chosen.compiled, chosen.strict)))
        thread.start()
        thread.join()
    assert seen == [(True, False)]


def test_the_forward_call_decides_for_the_gradients(monkeypatch):
    x, w = (t.requires_grad_() for t in tensors())
    with striate.precision("strict"):
        y = ops.conv(x, w, padding=1)
    asked = []
    decide = plans.decide
    monkeypatch.setattr(plans, "decide", lambda *given: asked.append(given[3].strict) or decide(*given))
    y.sum().backward()
    assert all(asked)


def test_off_it_is_torchs_own_node():
    x, w = (t.requires_grad_() for t in tensors())
    with striate.use_compiled(False):
        y = ops.conv(x, w)
        assert route(x, w, **ONE).reason == "compiled kernels are switched off"
    assert "ConvolutionBackward" in y.grad_fn.name()
    assert ops.conv(x, w).grad_fn.name() != y.grad_fn.name()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": torch.float64}, "kernels compute float32, the input is float64"),
        ({"dtype": torch.bfloat16}, "kernels compute float32, the input is bfloat16"),
        ({"device": "meta"}, "kernels run on the CPU, the input is on meta"),
    ],
)
def test_reasons_for_torchs_operator(change, reason):
    x, w = tensors(**change)
    found = route(x, w, **ONE)
    assert (found.algorithm, found.reason, found.compiled) == (None, reason, False)
    assert ops.conv(x, w, padding=1).dtype == x.dtype


def test_reasons_that_lie_in_the_surroundings():
    x, w = tensors()
    assert route(x.to_sparse(), w, **ONE).reason == "kernels read dense tensors, the input is sparse_coo"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert route(x, w, **ONE).reason == "autocast computes in bfloat16"

    class Mine(torch.Tensor):
        pass

    assert route(x.as_subclass(Mine), w, **ONE).reason == "kernels read plain tensors, the input is a Mine"
    assert isinstance(ops.conv(x.as_subclass(Mine), w), Mine)
    assert route(x[:0], w, **ONE).reason == "an operand or the result is empty"


@pytest.mark.parametrize("pass_", ["forward", "grad_input", "grad_weight"])
def test_routes_name_the_problem_of_each_pass(pass_):
    x, w = tensors()
    found = route(x, w, torch.randn(4), **ONE, pass_=pass_)
    assert found.problem.spec.pass_ == pass_
    assert found.compiled == (found.reason is None)
    turned = route(x, w, **ONE, output_padding=(0, 0), pass_=pass_)
    other = {"forward": "grad_input", "grad_input": "forward", "grad_weight": "grad_weight"}[pass_]
    assert turned.problem.spec.pass_ == other
    assert turned.problem.output_size == (8, 8)


def test_a_problem_without_an_algorithm_goes_to_torch_and_says_so_once(monkeypatch, caplog):
    from striate.compiler import choose

    monkeypatch.setattr(choose, "ALGORITHMS", ())
    x, w = torch.randn(1, 5, 9, 8), torch.randn(4, 5, 3, 3, requires_grad=True)
    with caplog.at_level(logging.DEBUG, "striate.ops"):
        for _ in range(3):
            y = ops.conv(x, w, padding=1)
            y.sum().backward()
    told = [
        record.message for record in caplog.records if "no algorithm" in record.message and "i9x8" in record.message
    ]
    assert len(told) == len(set(told)) == 2  # forward and grad_weight
    torch.testing.assert_close(y, torch.conv2d(x, w, padding=1))
    assert "no algorithm computes" in route(x, w, **ONE).reason


def in_fresh_interpreter(code, **environment):
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout.split()


def test_the_environment_switches_kernels_off():
    code = "from striate.ops.settings import chosen; print(chosen.compiled)"
    assert in_fresh_interpreter(code, STRIATE_COMPILED="0") == ["False"]
    assert in_fresh_interpreter(code, STRIATE_COMPILED="1") == ["True"]


def test_nothing_is_loaded_before_the_first_compiled_call():
    code = (
        "import sys, torch\nfrom striate import ops, nn\nprint('llvmlite' in sys.modules)\n"
        "ops.conv(torch.ones(1, 1, 4).double(), torch.ones(1, 1, 2).double())\nprint('llvmlite' in sys.modules)\n"
        "ops.conv(torch.ones(1, 1, 4), torch.ones(1, 1, 2))\nprint('llvmlite' in sys.modules)"
    )
    assert in_fresh_interpreter(code) == ["False", "False", "True"]
