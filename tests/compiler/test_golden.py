"""The heart of a few kernels, kept as text: the emitted block with most multiply-adds, its values numbered in order.

Whoever changes what kernels are made of sees here what became of them. To write the files anew, and read the difference
before it is committed::

    python tests/compiler/test_golden.py
"""

import re
from pathlib import Path

import pytest

from striate.compiler.algorithms import ALGORITHMS
from striate.compiler.problem import Spec
from striate.compiler.target import AVX2, AVX512, SSE

GOLDEN = Path(__file__).parent / "golden"
TARGETS = {target.name: target for target in (AVX512, AVX2, SSE)}
KERNELS = [
    ("direct", "2d c64 o64 k3 s1", AVX512),
    ("direct", "2d c5 o7 k3 s2 bias scale relu", SSE),
    ("lanewise", "2d c32 o32 k3 s1 g32", AVX2),
    ("dot", "1d c8 o1 k5 s1", AVX2),
    ("winograd-4", "2d c64 o64 k3 s1", AVX512),
    ("direct-weight", "2d c64 o64 k3 s1 grad_weight", AVX512),
]
IDS = [f"{name}, {text}, {target.name}" for name, text, target in KERNELS]


def file_of(name, text, target):
    return GOLDEN / f"{name} {text} {target.name}.ll".replace(" ", "_")


def heart(name, text, target):
    """The block with the most multiply-adds, with values and labels named by the order in which they come."""
    [algorithm] = [each for each in ALGORITHMS if each.name == name]
    emitted = algorithm.build(Spec.parse(text), target).text
    blocks = re.split(r"\n(?=\S+:\n)", emitted)
    block = max(blocks, key=lambda lines: len(re.findall(r"llvm\.fma|= fmul", lines)))
    block = re.sub(r"<\w+ undef(, \w+ undef)*>", "undef", re.sub(r"<i32 0(, i32 0)*>", "zeros", block))
    names = {}
    numbered = re.sub(r'%"?[\w.]+"?', lambda found: names.setdefault(found[0], f"%{len(names)}"), block)
    return "\n".join(line.strip() for line in numbered.split("\n", 1)[1].strip().splitlines()) + "\n"


@pytest.mark.parametrize(("name", "text", "target"), KERNELS, ids=IDS)
def test_the_heart_of_a_kernel(name, text, target):
    assert heart(name, text, target) == file_of(name, text, target).read_text()


def test_no_file_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == {file_of(*kernel).name for kernel in KERNELS}


if __name__ == "__main__":
    for kernel in KERNELS:
        file_of(*kernel).write_text(heart(*kernel))
