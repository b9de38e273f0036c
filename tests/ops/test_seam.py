"""Only one file calls PyTorch's convolutions, and what the seam is handed is computed as its words say."""

import ast
from pathlib import Path

import pytest
import torch

import striate
from striate.ops import seam

PACKAGE = Path(striate.__file__).parent


def is_convolution(name):
    """True for names like conv2d, convolution, mkldnn_convolution, slow_conv3d and conv_transpose1d."""
    words = name.lower().strip("_").split("_")
    return name == name.lower() and any(word.rstrip("123d") in ("conv", "convolution") for word in words)


def uses_of_torchs_convolutions(source):
    """Line numbers where a name that came from torch is followed to a convolution."""
    tree = ast.parse(source)
    roots, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {(a.asname or a.name).split(".")[0] for a in node.names if a.name.split(".")[0] == "torch"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            roots |= {a.asname or a.name for a in node.names}
            found += [node.lineno for a in node.names if is_convolution(a.name)]

    def from_torch(node):
        while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
            node = node.func if isinstance(node, ast.Call) else node.value
        return isinstance(node, ast.Name) and node.id in roots

    for node in ast.walk(tree):
        own = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch.ops.striate"
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("nn.modules.conv"):
            continue  # the module of torch's layers
        if isinstance(node, ast.Attribute) and is_convolution(node.attr) and from_torch(node.value) and not own:
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            words = [
                n.value for n in ast.walk(node.args[1]) if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
            if from_torch(node.args[0]) and any(is_convolution(word) for word in words):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_only_one_file_calls_torchs_convolutions(path):
    found = uses_of_torchs_convolutions(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "ops" / "native.py":
        assert len(found) == 7
    else:
        assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.conv2d(x, w)",
        "import torch.nn.functional as F\ny = F.conv_transpose3d(x, w)",
        "from torch.nn import functional\nfunctional.conv1d(x, w)",
        "from torch.nn.functional import conv2d",
        "import torch\ntorch.ops.aten.convolution.default(x)",
        "import torch\ntorch.ops.aten.mkldnn_convolution(x)",
        "import torch\ntorch._C._nn.slow_conv3d(x)",
        "import torch\ngetattr(torch, f'conv{n}d')(x)",
        "import torch as t\nf = t.conv_tbc",
    ],
)
def test_the_search_finds_them(source):
    assert uses_of_torchs_convolutions(source)


def test_the_search_lets_classes_and_our_own_operators_pass():
    source = "import torch\nfrom striate import ops\nops.conv2d(x, w)\ntorch.nn.Conv2d(1, 1, 1)\ntorch.ao.convert(m)"
    source += "\ntorch.ops.striate.conv(x, w)\ntorch.nn.modules.conv._ConvNd"
    assert uses_of_torchs_convolutions(source) == []


@pytest.mark.parametrize("pads", [((0, 0),), ((2, 2),), ((1, 3),), ((3, 0),)])
def test_convolution_pads_with_zeros_on_either_side(pads):
    x, w = torch.randn(1, 2, 5), torch.randn(3, 2, 2)
    (before, after), padded = pads[0], torch.zeros(1, 2, 5 + sum(pads[0]))
    padded[..., before : before + 5] = x
    own = seam.convolution(x, w, None, (2,), pads, (1,), 1)
    wanted = torch.stack(
        [(padded[..., None, :, i : i + 2] * w).sum((-1, -2)) for i in range(0, 4 + before + after, 2)], -1
    )
    torch.testing.assert_close(own, wanted)


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("extra", [0, 1])
def test_transposed_convolution_crops_either_side_of_the_full_output(before, after, extra):
    x, w = torch.randn(1, 2, 6), torch.randn(2, 3, 4)
    full = seam.transposed_convolution(x, w, None, (2,), ((0, 0),), (1,), 1, (1,))
    own = seam.transposed_convolution(x, w, None, (2,), ((before, after),), (extra,), 1, (1,))
    torch.testing.assert_close(own, full[..., before : 14 - after + extra])
