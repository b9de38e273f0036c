"""What the processes of a run agree on in every step, so that all of them stop, fail and save at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.train.progress import Sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.train.interruption import Interruption
    from striate.train.processes import Processes


class Lockstep:
    """What all processes agree on once a step, in one exchange of a few numbers.

    ``stop`` is the name of the signal that has asked any of them to stop, "" if none has, and ``due`` says whether a
    checkpoint is: that is the first's to decide.
    """

    def __init__(self, processes: Processes, interruption: Interruption, due: Callable[[], bool]) -> None:
        self._processes, self._interruption, self._due = processes, interruption, due
        self._agreed = {"stop": "", "due": False}

    @property
    def stop(self) -> str:
        """The signal that asks to stop."""
        return self._interruption.signal if self._processes.alone else str(self._agreed["stop"])

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._due() if self._processes.alone else bool(self._agreed["due"])

    def is_due(self) -> bool:
        """Whether this process finds it time for a checkpoint."""
        return self._due()

    def part_of(self, sums: Sums) -> Sums:
        """Where a process counts its own samples until the step is done: alone in the sums themselves."""
        return sums if self._processes.alone else Sums(sums.metric)

    def agree(self, sums: Sums, mine: Sums, step_loss: float, *, broken: bool) -> tuple[float, bool]:
        """Add what all processes have counted to ``sums``; return the step's loss, and whether any has a broken one."""
        if self._processes.alone:
            return step_loss, broken
        signal = self._interruption.signal
        said = [step_loss, broken, signal == "SIGINT", signal == "SIGTERM", self._processes.first and self._due()]
        numbers = [mine.loss_sum, mine.count, mine.above, mine.below, *map(float, said)]
        loss_sum, count, above, below, loss, any_broken, interrupted, terminated, due = self._processes.added(numbers)
        sums.merge(Sums(sums.metric, loss_sum, int(count), above, below))
        self._agreed = {"stop": "SIGINT" if interrupted else "SIGTERM" if terminated else "", "due": due > 0}
        return loss, any_broken > 0

    def agree_to_stop(self) -> str:
        """Ask all processes alone whether they have been asked to stop, outside of a step."""
        if not self._processes.alone:
            asked = [signal for signal in self._processes.gathered(self._interruption.signal) if signal]
            self._agreed["stop"] = asked[0] if asked else ""
        return self.stop
