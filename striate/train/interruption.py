"""Ctrl-C and ``kill`` during a run: the step is finished and a checkpoint written before anything stops."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self


class Interruption:
    """While it is entered, remembers SIGINT and SIGTERM instead of dying of them.

    The first of either sets ``signal``; a second Ctrl-C raises `KeyboardInterrupt` at once. Outside the main thread,
    where Python allows no handlers, nothing is changed. The handlers found are put back at the end.

    >>> with Interruption() as interruption:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interruption.signal
    'SIGTERM'
    """

    def __init__(self) -> None:
        self.signal = ""
        self._found: dict[signal.Signals, object] = {}

    def __bool__(self) -> bool:
        return bool(self.signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._found[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._found.items():
            # A handler that was not installed from Python is None and cannot be put back; the default is nearest.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        self._found.clear()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
