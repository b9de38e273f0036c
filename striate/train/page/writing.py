"""Writing a run's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from striate.data.single import writing
from striate.errors import DataError
from striate.files import replacing
from striate.train.drawings import drawings
from striate.train.evaluation import evaluate
from striate.train.loop import load
from striate.train.page.sections import every_section

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from striate.data import Dataset
    from striate.train.evaluation import Evaluation
    from striate.train.run import Run

REPORT = "report.html"


def write_report(
    run: Run,
    evaluation: Evaluation,
    dataset: Dataset | None = None,
    *,
    folder: str | PathLike[str] | None = None,
) -> Path:
    """Write ``report.html``, one page about a run that needs no other file and no network; return its path.

    It has a summary, learning curves, the confusion matrix or what the task has in its place, the worst mistakes,
    calibration, the data sheet, the configuration, cost, environment and files. ``dataset`` is the run's own, which is
    loaded if it is not given (where it can no longer be read, the page says so); ``folder`` is the run's if none is
    given. Texts from outside never become markup. Raises `DataError` for a place that cannot be written to.

    ::

        run = Run.open("runs/digits")
        write_report(run, evaluate(run))
    """
    from pathlib import Path

    path = (run.folder if folder is None else Path(folder)) / REPORT
    data: Dataset | DataError
    try:
        data = load(run.config) if dataset is None else dataset
    except DataError as error:
        data = error
    drawn = list(drawings(evaluation, run))
    # Everything that is put into the page is escaped; nothing in it is marked as safe.
    pages = Environment(
        loader=PackageLoader("striate.train", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = pages.get_template("page.html.jinja").render(
        title=f"{run.folder.resolve().name}: {run.network.name}",
        finished=run.finished,
        sections=list(every_section(run, evaluation, data, drawn)),
    )
    with writing(path), replacing(path) as partial:
        # Names of files that are no text come out as question marks.
        partial.write_bytes(text.encode("utf-8", errors="replace"))
    return path


def report_run(run: Run, dataset: Dataset | None = None) -> Path:
    """Measure a run on its test part, or else the validation or training part, and write its page; return the path.

    ``dataset`` is the run's data, if it is loaded already.

    ::

        report_run(fit(config, "runs/digits"))
    """
    dataset = load(run.config) if dataset is None else dataset
    split = next(name for name in ("test", "val", "train") if name in dataset.parts)
    return write_report(run, evaluate(run, split, dataset=dataset), dataset)
