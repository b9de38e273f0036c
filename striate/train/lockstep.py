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
        self._processes, self._interruption, self._first_due = processes, interruption, due
        self._agreed_stop, self._agreed_due = "", False

    @property
    def stop(self) -> str:
        """The signal that asks to stop."""
        return self._interruption.signal if self._processes.alone else self._agreed_stop

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._first_due() if self._processes.alone else self._agreed_due

    def part_of(self, sums: Sums) -> Sums:
        """Where a process counts its own samples until the step is done: alone in the sums themselves."""
        return sums if self._processes.alone else Sums(sums.metric)

    def agree(self, sums: Sums, mine: Sums, step_loss: float, *, broken: bool) -> tuple[float, bool]:
        """Add what all processes have counted to ``sums``; return the step's loss, and whether any has a broken one."""
        if self._processes.alone:
            return step_loss, broken
        signal = self._interruption.signal
        due = self._processes.first and self._first_due()
        said = [step_loss, broken, signal == "SIGINT", signal == "SIGTERM", due]
        numbers = [mine.loss_sum, mine.count, mine.above, mine.below, *map(float, said)]
        loss_sum, count, above, below, loss, *flags = self._processes.added(numbers)
        any_broken, interrupted, terminated, any_due = (flag > 0 for flag in flags)
        sums.merge(Sums(sums.metric, loss_sum, int(count), above, below))
        self._agreed_stop = "SIGINT" if interrupted else "SIGTERM" if terminated else ""
        self._agreed_due = any_due
        return loss, any_broken

    def agree_to_stop(self) -> str:
        """Agree on nothing but whether any has been asked to stop, outside of a step; see ``stop``."""
        if not self._processes.alone:
            asked = [signal for signal in self._processes.gathered(self._interruption.signal) if signal]
            self._agreed_stop = asked[0] if asked else ""
        return self.stop
