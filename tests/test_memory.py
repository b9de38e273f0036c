"""The peak of a process is its own: it sees what it holds, not what the process that started it held."""

import resource
import subprocess
import sys

import pytest

from striate.memory import added_bytes, keep_memory, peak_bytes

MUCH = 300 << 20


@pytest.fixture(autouse=True)
def _handed_back():
    """Other tests of this process may have asked to keep what is freed."""
    keep_memory(False)


def test_sees_what_was_held_and_given_back():
    before = peak_bytes(anew=True)
    held = bytearray(b"1") * MUCH
    del held
    assert peak_bytes() - before > 0.9 * MUCH


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no peak from now on")
def test_forgets_what_was_before():
    held = bytearray(b"1") * MUCH
    most = peak_bytes()
    del held
    assert peak_bytes(anew=True) < most - 0.9 * MUCH


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count what the parent had")
def test_a_new_program_begins_anew():
    held = bytearray(b"1") * MUCH
    done = subprocess.run(
        [sys.executable, "-c", "from striate.memory import peak_bytes; print(peak_bytes())"],
        capture_output=True,
        text=True,
        check=True,
    )
    del held
    assert int(done.stdout) < MUCH


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_added_is_what_the_call_holds_at_once():
    def both_after_another():
        held = bytearray(b"1") * MUCH
        del held
        held = bytearray(b"1") * MUCH
        del held

    assert 0.9 * MUCH < added_bytes(both_after_another) < 1.2 * MUCH


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators are not told")
def test_keeps_what_is_freed_until_told_otherwise():
    def pages():
        """Pages that the system had to find for as much memory as before."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(b"1") * MUCH
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize()

    assert keep_memory()
    pages()
    kept = pages()
    assert keep_memory(False)
    assert kept < 0.1 * MUCH < 0.9 * MUCH < pages()
