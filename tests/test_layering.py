"""The plan of the house: a file imports only from lower layers and from its own package."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "striate"
LAYERS = {
    "errors": 0,
    "files": 0,
    "memory": 0,
    "units": 0,
    "geometry": 1,
    "compiler": 2,
    "ops": 3,
    "nn": 4,
    "accelerate": 4,
    "models": 5,
    "data": 5,
    "insight": 5,
    "train": 6,
    "explorer": 6,
    "cli": 7,
}
ROOMS = {"__init__", "__main__"}  # the lazy front door and the command's entry may look anywhere
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0].removesuffix(".py") not in ROOMS)


def imported_modules(path: Path) -> set[str]:
    """Every module a file imports, whether at the top, inside functions or for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            if node.module == "striate":
                names |= {f"striate.{alias.name}" for alias in node.names}
            elif node.module:
                names.add(node.module)
    return names


def part_of(module: str) -> str:
    """The part of the house that ``striate.part.anything`` belongs to."""
    return module.split(".")[1] if "." in module else ""


def violations(path: Path, modules: set[str]) -> list[str]:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return [
        module
        for module in sorted(modules)
        if module.split(".")[0] == "striate"
        and part_of(module) != own
        and LAYERS.get(part_of(module), 99) >= LAYERS[own]
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_imports_only_from_lower_layers(path):
    assert violations(path, imported_modules(path)) == []


@pytest.mark.parametrize(
    ("file", "module"),
    [("ops/conv.py", "striate.nn"), ("data/images/idx.py", "striate.models.registry"), ("errors.py", "striate")],
)
def test_an_upward_or_sideways_import_would_be_found(file, module):
    assert violations(ROOT / file, {module, "striate.errors"}) == [module]


def test_the_lowest_layers_need_only_the_standard_library():
    import sys

    for path in [ROOT / "errors.py", ROOT / "files.py", ROOT / "units.py", *(ROOT / "geometry").glob("*.py")]:
        outside = {module.split(".")[0] for module in imported_modules(path)} - {"striate"}
        assert outside <= sys.stdlib_module_names


def test_rooms_of_data_do_not_import_each_other_in_circles():
    rooms = {path.name for path in (ROOT / "data").iterdir() if (path / "__init__.py").exists()}
    needs = {room: set() for room in rooms}
    for room in rooms:
        for path in (ROOT / "data" / room).glob("*.py"):
            needs[room] |= {
                module.split(".")[2] for module in imported_modules(path) if module.startswith("striate.data.")
            }
        needs[room] &= rooms - {room}
    assert set(TopologicalSorter(needs).static_order()) == rooms  # of a circle it raises CycleError


def test_no_drawer_for_odds_and_ends():
    assert [path for path in FILES if path.stem in {"utils", "helpers", "common", "misc"}] == []
