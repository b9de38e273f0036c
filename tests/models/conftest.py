"""What the tests of networks share: helper modules that can be imported, and PyTorch's operators.

A network is the same whoever computes its convolutions, and hundreds of layers used once are not worth compiling; the
compiled kernels answer for themselves in tests/compiler and tests/ops, and on whole networks in tests/nn.
"""

import sys
from pathlib import Path

import pytest

import striate

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _operators_of_torch():
    with striate.use_compiled(False):
        yield
