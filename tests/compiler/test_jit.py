import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from striate.compiler import parallel
from striate.compiler.cache import DiskCache, folder
from striate.compiler.emit import Kernel
from striate.compiler.jit import Jit
from striate.compiler.target import host


def scale(name="scale"):
    """result = source * factor, in rows."""
    k = Kernel(name, host(), pointers=("source", "result"), indices=("count",), scalars=("factor",))
    factor = k.scalars["factor"].broadcast(k.lanes)
    with k.tasks() as row:
        start = row * k.indices["count"]
        with k.loop(k.indices["count"], step=k.lanes) as i:
            mask = k.mask(k.indices["count"] - i)
            value = (k.pointers["source"] + start + i).load(k.lanes, mask)
            (k.pointers["result"] + start + i).store(value * factor, mask)
    return k.finish()


def apply(function, source, factor, threads=1):
    result = np.zeros_like(source)
    function(source.ctypes.data, result.ctypes.data, source.shape[1], factor, source.shape[0], threads)
    return result


SOURCE = np.random.default_rng(0).random((5, 37), np.float32)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_tasks_are_all_done_once(threads, tmp_path):
    function = Jit(DiskCache(tmp_path)).get(scale(), host())
    np.testing.assert_array_equal(apply(function, SOURCE, 3.0, threads), SOURCE * np.float32(3))


def test_torch_has_a_runtime_to_share():
    import torch

    assert parallel.runtime().startswith(str(Path(torch.__file__).parent))


def test_the_second_process_compiles_nothing(tmp_path):
    disk = DiskCache(tmp_path / "kernels")
    first, second = Jit(disk), Jit(disk)
    first.get(scale(), host())
    np.testing.assert_array_equal(apply(second.get(scale(), host()), SOURCE, 2.0), SOURCE * np.float32(2))
    assert (first.compiled, second.compiled) == (1, 0)
    assert stat.S_IMODE((tmp_path / "kernels").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage", [lambda code: code[:-1], lambda code: b"", lambda code: code[:40] + b"x" + code[41:]]
)
def test_a_damaged_entry_is_compiled_again(damage, tmp_path):
    disk = DiskCache(tmp_path)
    Jit(disk).get(scale(), host())
    (entry,) = disk.entries()
    entry.write_bytes(damage(entry.read_bytes()))
    again = Jit(disk)
    np.testing.assert_array_equal(apply(again.get(scale(), host()), SOURCE, 2.0), SOURCE * np.float32(2))
    assert again.compiled == 1
    assert Jit(disk).get(scale(), host())
    assert disk.read(entry.stem) is not None


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path):
    disk = DiskCache(tmp_path / "kernels")
    Jit(disk).get(scale(), host())
    (tmp_path / "kernels").chmod(0o777)
    again = Jit(disk)
    again.get(scale(), host())
    assert again.compiled == 1


def test_the_disk_cache_is_bounded_and_keeps_what_was_used_last(tmp_path):
    disk = DiskCache(tmp_path, limit_bytes=2900)
    for number in range(3):
        disk.write(f"k{number}", bytes(900))
        os.utime(tmp_path / f"k{number}.o", ns=(number, number))
    disk.read("k0")
    disk.write("k3", bytes(900))
    assert {path.stem for path in disk.entries()} == {"k0", "k2", "k3"}
    assert disk.size_bytes() <= 2900
    assert disk.clear() == 3
    assert disk.entries() == []


def test_memory_is_bounded_and_evicted_kernels_still_run(tmp_path):
    jit = Jit(DiskCache(tmp_path), most_kernels=2)
    functions = [jit.get(scale(f"scale_{number}"), host()) for number in range(4)]
    for function in functions:
        np.testing.assert_array_equal(apply(function, SOURCE, 2.0), SOURCE * np.float32(2))
    assert jit.compiled == 4
    jit.get(scale("scale_3"), host())
    assert jit.compiled == 4


def test_threads_that_want_the_same_kernel_compile_it_once(tmp_path):
    jit = Jit(DiskCache(tmp_path))
    program, results = scale(), []
    threads = [threading.Thread(target=lambda: results.append(jit.get(program, host()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jit.compiled == 1
    assert len({id(function) for function in results}) == 1


def test_denormals_count_as_zero_inside_only(tmp_path):
    function = Jit(DiskCache(tmp_path)).get(scale(), host())
    tiny = np.full((2, 8), 1e-40, np.float32)
    assert (apply(function, tiny, 2.0, threads=2) == 0).all()
    assert (tiny * np.float32(2) > 0).all()


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("STRIATE_CACHE_DIR", str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.delenv("STRIATE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "striate"
