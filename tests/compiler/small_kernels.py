"""Kernels of a few lines, and calling them on NumPy arrays."""

import ctypes

import numpy as np

from striate.compiler.emit import Kernel, Signature
from striate.compiler.target import host

SCALE = Signature(pointers=("source", "factor", "result"), numbers=("count",), phases=("scale",))


def scale(name="scale", target=None):
    """result = source * factor, in rows: one task each."""
    k = Kernel(name, target or host(), SCALE)
    with k.phase("scale"):
        factor = k.pointers["factor"].load().broadcast(k.lanes)
        count = k.numbers["count"]
        with k.tasks() as row, k.loop(count, step=k.lanes) as i:
            mask = k.mask(count - i)
            value = (k.pointers["source"] + row * count + i).load(k.lanes, mask)
            (k.pointers["result"] + row * count + i).store(value * factor, mask)
    return k.finish()


def get_scale(jit, name="scale"):
    return jit.get(name, lambda: scale(name), len(SCALE.pointers), host())


def call(function, signature, arrays, tasks, threads=1, **numbers):
    """Run a kernel on arrays, in the order of its pointers."""
    table = signature.table(tasks, **numbers)
    function(*(array.ctypes.data for array in arrays), ctypes.addressof(table), threads)


def apply(function, source, factor, threads=1):
    result = np.zeros_like(source)
    arrays = (source, np.array([factor], source.dtype), result)
    call(function, SCALE, arrays, (source.shape[0],), threads, count=source.shape[1])
    return result


def made(jit, name, signature, write, dtype="float32", target=None):
    """A kernel of one phase whose body ``write(k)`` writes, loaded."""
    target = target or host()

    def build():
        k = Kernel("made", target, signature, dtype)
        with k.phase(signature.phases[0]):
            write(k)
        return k.finish()

    return jit.get(f"{name} {dtype}", build, len(signature.pointers), target)
