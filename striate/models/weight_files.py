"""Reading files of weights that come from anywhere: tensors by name and nothing else, and no more than was allowed."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from striate.errors import CheckpointError
from striate.units import readable_bytes

if TYPE_CHECKING:
    from pathlib import Path

_PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""What training scripts call the weights among the other things that they save, in order of preference."""


def read_weights(path: Path, max_bytes: int) -> dict[str, Tensor]:
    """Read all tensors of a file of weights into memory, by name.

    Nothing that the file says is run: safetensors holds numbers only, and pickles are read with ``weights_only``.
    Raises `CheckpointError` for files that are missing, damaged, larger than ``max_bytes``, or hold anything else.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.pth")
    ...     torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 3}, path)
    ...     read_weights(path, max_bytes=10_000)
    {'weight': tensor([0., 0.])}
    """
    if path.suffix not in (".safetensors", *_PICKLED):
        raise CheckpointError(
            f"a file of weights, with a name ending in .safetensors or one of {', '.join(_PICKLED)}",
            str(path),
            "Rename it if it is one of these.",
        )
    if not path.is_file():
        raise CheckpointError("a file of weights", f"{path}, which does not exist", "Check its name.")
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError(
            f"a file of at most {readable_bytes(max_bytes)}", f"{path} of {readable_bytes(size)}", "Raise max_bytes."
        )
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path, size)
    except Exception as error:  # a pickle that was made or damaged with skill can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            "a whole file of weights that holds tensors only", f"{path}: {reason}", "Fetch it again, or convert it."
        ) from error
    return _checked(_unwrapped(content), path, size)


def _unpickled(path: Path, size: int) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # PyTorch stores members as they are, so anything larger than the file is not its work.
            if sum(member.file_size for member in archive.infolist()) > size:
                raise zipfile.BadZipFile("it holds compressed members")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old formats, which are read all the same
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _unwrapped(content: object) -> object:
    for _ in range(len(_WRAPPERS)):
        inner = [content[key] for key in _WRAPPERS if key in content] if isinstance(content, Mapping) else []
        if not inner or not isinstance(inner[0], Mapping):
            break
        content = inner[0]
    return content


def _checked(content: object, path: Path, size: int) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            "tensors by name, as state_dict() gives them",
            f"{path}, which holds {'nothing' if isinstance(content, Mapping) else f'a {type(content).__name__}'}",
            "Save model.state_dict().",
        )
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"nothing but tensors by name, or those under one of {', '.join(_WRAPPERS)}",
                f"{path}, where {name!r} is a {type(tensor).__name__}",
                "Save model.state_dict().",
            )
        # A tensor can claim more than its file holds, by visiting the same numbers again and again.
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.nbytes > size:
            raise CheckpointError(
                "plain dense tensors",
                f"{name!r} of shape {tuple(tensor.shape)} in {path}",
                "Save them dense, unquantised and contiguous.",
            )
    return {str(name): tensor for name, tensor in content.items()}
