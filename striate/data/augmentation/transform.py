"""What every transform is: a name, parameters, where it applies, and a function of a batch and its draws."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

from torch import Tensor

from striate.data.augmentation.draws import Draws
from striate.data.augmentation.parameters import Within, check_parameters
from striate.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from striate.data.dataset import Dataset

KINDS = {1: "signals", 2: "images", 3: "volumes"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What augmentation has to know of a data set; see `striate.data.Dataset` for the fields.

    ``size`` is the spatial size and ``outputs`` the number of classes that soft targets are spread over. ``content`` is
    "spectrograms" or "bases" where samples are known to be such, and else empty; presets depend on it.

    >>> facts = Facts(size=(28, 28), channels=1, value_scale=255.0, outputs=10)
    >>> facts.spatial_dims, facts.bounded
    (2, True)
    """

    size: tuple[int, ...]
    channels: int
    task: str = "classification"
    input_kind: str = "values"
    value_scale: float = 1.0
    void: int | None = None
    outputs: int = 0
    content: str = ""

    @classmethod
    def of(cls, dataset: "Dataset") -> Self:
        """Read them from a data set.

        >>> from striate.data import load_data
        >>> Facts.of(load_data("digits")).value_scale
        16.0
        """
        return cls(
            size=dataset.input_size,
            channels=dataset.in_channels,
            task=dataset.task,
            input_kind=dataset.input_kind,
            value_scale=dataset.value_scale,
            void=dataset.void,
            outputs=dataset.outputs,
            content=_content(dataset),
        )

    @property
    def spatial_dims(self) -> int:
        """1 for signals, 2 for images, 3 for volumes."""
        return len(self.size)

    @property
    def bounded(self) -> bool:
        """Whether values run from black to a known full white; others have a scale of 1 and may be any numbers."""
        return self.value_scale != 1

    @property
    def masks(self) -> bool:
        """Whether targets are masks, which move along with their inputs."""
        return self.task == "segmentation"

    @property
    def entering(self) -> int:
        """The label of what enters a mask from outside."""
        return 0 if self.void is None else self.void


def _content(dataset: "Dataset") -> str:
    if dataset.kind == "dna" and dataset.in_channels == 4:
        return "bases"
    return "spectrograms" if dataset.reading.get("features") == "log_mel" else ""


@dataclass(frozen=True, kw_only=True)
class Transform(ABC):
    """One step of augmentation, applied to each sample with probability ``p``.

    Called with inputs (n, C, *spatial), float32, in units of full white, or tokens (n, L), int64; targets (n, ...);
    `Draws` of these samples; and `Facts`. Gives inputs and targets of the same shapes (mixing makes class numbers soft
    targets (n, K)), and leaves what it was given unchanged. What happens to a sample depends on it and its draws alone,
    to the last bit, so sums are taken sample by sample and nothing goes through matrix products or convolutions, whose
    rounding depends on the size of a batch.

    A sub-class is a frozen dataclass with annotated parameters and these constants: ``name``; ``ranks`` it has meaning
    in; ``kinds`` of input; ``tasks`` (empty: all); ``channels`` (0: any number); ``needs_white``, whether values must
    have a known full white. Parameters out of range raise `ConfigError`.
    """

    name: ClassVar[str] = ""
    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    kinds: ClassVar[tuple[str, ...]] = ("values",)
    tasks: ClassVar[tuple[str, ...]] = ()
    channels: ClassVar[int] = 0
    needs_white: ClassVar[bool] = False

    p: Annotated[float, Within(0, 1)] = 1.0

    def __post_init__(self) -> None:
        check_parameters(self, self.name)

    def __call__(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Transform those samples that chance picks."""
        if self.p >= 1:
            return self.apply(inputs, targets, draws, facts)
        chosen = draws.chance("p", self.p).nonzero()[:, 0]
        if len(chosen) == 0:
            return inputs, targets
        old = targets[chosen]
        changed, new = self.apply(inputs[chosen], old, draws.at(chosen), facts)
        inputs = inputs.index_copy(0, chosen, changed)
        return inputs, targets if new is old else targets.index_copy(0, chosen, new)

    @abstractmethod
    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Transform all samples of a batch."""

    def check(self, facts: Facts) -> None:
        """Raise `ConfigError` where the transform has no meaning for such data.

        >>> from striate.data.augmentation.affine import Rotate
        >>> Rotate().check(Facts(size=(128,), channels=3))
        Traceback (most recent call last):
        striate.errors.ConfigError: Expected images or volumes for 'rotate'; received signals. Leave it out.
        """
        kind = "tokens" if facts.input_kind == "tokens" else KINDS[facts.spatial_dims]
        wanted = ["tokens"] if "tokens" in self.kinds else [KINDS[rank] for rank in self.ranks]
        if kind not in wanted:
            raise ConfigError(f"{' or '.join(wanted)} for {self.name!r}", kind, "Leave it out.")
        if self.tasks and facts.task not in self.tasks:
            raise ConfigError(
                f"a task of {', '.join(self.tasks)} for {self.name!r}",
                f"the task {facts.task}",
                "Leave it out: such targets cannot follow it.",
            )
        if self.channels and facts.channels != self.channels:
            raise ConfigError(
                f"{self.channels} channels for {self.name!r}", f"{facts.channels}", "Leave it out, or read in colour."
            )
        if self.needs_white and not facts.bounded:
            raise ConfigError(
                f"values with a known full white for {self.name!r}",
                "values without limits (a scale of 1)",
                "Store images as uint8 or uint16, or use intensity_scale, intensity_shift and gamma.",
            )

    def settings(self) -> dict[str, Any]:
        """Name and parameters, defaults included, as TOML holds them.

        >>> from striate.data.augmentation.placing import Crop
        >>> Crop(padding=2).settings()
        {'name': 'crop', 'p': 1.0, 'padding': 2, 'padding_mode': 'zeros'}
        """
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"name": self.name, **values}


@dataclass(frozen=True, kw_only=True)
class ValueTransform(Transform):
    """A transform that changes values where they are, so that targets stay."""

    def apply(self, inputs: Tensor, targets: Tensor, draws: Draws, facts: Facts) -> tuple[Tensor, Tensor]:
        """Transform the inputs alone."""
        return self.change(inputs, draws, facts), targets

    @abstractmethod
    def change(self, inputs: Tensor, draws: Draws, facts: Facts) -> Tensor:
        """The changed inputs of all samples of a batch."""


class TransformEntry(NamedTuple):
    """What `list_transforms` tells: a name, one line, the ranks, the kinds of input, and parameters with defaults."""

    name: str
    summary: str
    spatial_dims: tuple[int, ...]
    input_kinds: tuple[str, ...]
    parameters: Mapping[str, Any]


_T = TypeVar("_T", bound="type[Transform]")
_TRANSFORMS: dict[str, type[Transform]] = {}


def register(kind: _T) -> _T:
    """Enter a transform under its name, so that settings can name it. Raises `ConfigError` if the name is taken."""
    if kind.name in _TRANSFORMS:
        raise ConfigError(
            "a name that no other transform has", f"a second transform named {kind.name!r}", "Rename the class."
        )
    _TRANSFORMS[kind.name] = kind
    return kind


def registered() -> tuple[type[Transform], ...]:
    """All transforms, by name."""
    return tuple(_TRANSFORMS[name] for name in sorted(_TRANSFORMS))


def list_transforms() -> tuple[TransformEntry, ...]:
    """All transforms that settings can name, by name.

    >>> {entry.name: entry for entry in list_transforms()}["crop"].parameters
    {'p': 1.0, 'padding': 4, 'padding_mode': 'zeros'}
    """
    return tuple(
        TransformEntry(
            kind.name,
            (kind.__doc__ or "").partition("\n")[0],
            kind.ranks,
            kind.kinds,
            {entry.name: entry.default for entry in fields(kind)},
        )
        for kind in registered()
    )


def make_transform(settings: Mapping[str, Any]) -> Transform:
    """Make a transform from its name and parameters. Raises `ConfigError` for unknown ones and values out of range.

    >>> make_transform({"name": "flip", "p": 0.3})
    Flip(p=0.3, axes=(-1,))
    >>> make_transform({"name": "flipp"})
    Traceback (most recent call last):
    striate.errors.ConfigError: Expected the name of a transform; received 'flipp'. Did you mean 'flip'?
    """
    name = settings.get("name")
    if not isinstance(name, str) or name not in _TRANSFORMS:
        remedy = did_you_mean(str(name), _TRANSFORMS)
        raise ConfigError("the name of a transform", repr(name), remedy)
    kind = _TRANSFORMS[name]
    known = [entry.name for entry in fields(kind)]
    for key in settings:
        if key != "name" and key not in known:
            raise ConfigError(f"only parameters of {name!r}", f"{key}={settings[key]!r}", did_you_mean(key, known))
    return kind(**{key: value for key, value in settings.items() if key != "name"})


def per_sample(numbers: Tensor, inputs: Tensor) -> Tensor:
    """Numbers (n,) or (n, C) as (n, 1 or C, 1, ...), to go with inputs.

    >>> import torch
    >>> per_sample(torch.zeros(5), torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 1, 1, 1])
    """
    return numbers.reshape(*numbers.shape, *(1,) * (inputs.ndim - numbers.ndim))
