"""What users import: complete, documented, and light until it is used."""

import inspect
import subprocess
import sys

import pytest

import striate

HEAVY = ["llvmlite", "lightning_fabric", "captum", "matplotlib", "torch", "numpy", "pydantic", "PIL", "torchmetrics"]


@pytest.mark.parametrize("name", striate.__all__)
def test_public_name_resolves_and_is_documented(name):
    member = getattr(striate, name)
    assert inspect.getdoc(member)
    assert member.__module__.startswith("striate.")


@pytest.mark.parametrize("package", striate._PACKAGES)
def test_package_resolves_and_all_is_complete(package):
    module = getattr(striate, package)
    assert module.__doc__
    for name in getattr(module, "__all__", []):
        assert hasattr(module, name), name


def test_public_names_are_those_of_their_packages():
    assert sorted(striate.__all__) == sorted(striate._MODULE_OF)
    assert set(striate.__all__) <= set(dir(striate))


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'striate' has no attribute 'convnet'"):
        _ = striate.convnet


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_striate_loads_nothing_heavy():
    assert modules_after("import striate") & set(HEAVY) == set()


def test_the_command_line_loads_nothing_heavy_before_it_is_needed():
    assert modules_after("import striate.cli") & set(HEAVY) == set()


def test_the_check_sees_a_heavy_import():
    assert "numpy" in modules_after("import striate.data")
