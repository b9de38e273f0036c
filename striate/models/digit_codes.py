"""The target codes of LeNet-5's output layer: the ten digits drawn as 7 x 12 bitmaps of -1 and +1.

LeCun and others (1998, section II.B and figure 3) chose drawings rather than one-of-ten codes so that digits that look
alike get similar codes, and an ambiguous answer can be told from a wrong one. Their bitmaps were never published as
numbers; these are drawn after the same idea. Ink is +1 and paper -1, row by row.
"""

from __future__ import annotations

import torch

WIDTH, HEIGHT = 7, 12
CODE_LENGTH = WIDTH * HEIGHT

_DIGITS = """
.#####. ...##.. .#####. .#####. .....## ####### ..####. ####### .#####. .#####.
##...## ..###.. ##...## ##...## ....### ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ...#### ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..##.## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## .....## .##..## ##..... ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. ##...## ######. ######. ...##.. ..###.. .######
##...## ...##.. ...##.. .....## ####### .....## ##...## ...##.. .##.##. .....##
##...## ...##.. ..##... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## .....## ##...## ##...## ..##... ##...## ....##.
.#####. .###### ####### .#####. .....## .#####. .#####. ..##... .#####. .####..
"""


def digit_codes() -> torch.Tensor:
    """The ten bitmaps as a (10, 84) tensor of -1 and +1.

    >>> codes = digit_codes()
    >>> codes.shape, int((codes[3] != codes[8]).sum()), int((codes[1] != codes[5]).sum())
    (torch.Size([10, 84]), 19, 49)
    """
    rows = [line.split() for line in _DIGITS.split("\n") if line]
    drawings = ["".join(row[digit] for row in rows) for digit in range(10)]
    return torch.tensor([[1.0 if mark == "#" else -1.0 for mark in drawing] for drawing in drawings])


def random_codes(num_classes: int) -> torch.Tensor:
    """Codes for any other number of classes: a (num_classes, 84) tensor of random -1 and +1, the same on every call.

    >>> random_codes(26).shape
    torch.Size([26, 84])
    """
    generator = torch.Generator().manual_seed(num_classes)
    bits = torch.randint(0, 2, (num_classes, CODE_LENGTH), generator=generator, device="cpu")
    # Through a list, so that the codes land on the device that models are being built on.
    return torch.tensor(bits.tolist()) * 2.0 - 1.0
