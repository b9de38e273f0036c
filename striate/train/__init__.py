"""Training, evaluation and prediction: `fit` makes a `Run`, which `evaluate` measures and `predict` asks.

::

    config = RunConfig.from_dict({"model": {"name": "lenet"}, "data": {"source": "digits28"}})
    run = fit(config, "runs/digits")
    evaluate(run).accuracy
    predict(run, "photo.png")[0].label
"""

from striate.train.config import RunConfig
from striate.train.evaluation import ClassScore, Evaluation, Mistake, evaluate
from striate.train.folder import new_folder
from striate.train.loop import fit, resume
from striate.train.page import report_run, write_report
from striate.train.pictures import look, save_evaluation
from striate.train.prediction import Answer, Prediction, Predictions, predict
from striate.train.progress import EpochMetrics
from striate.train.report import LiveLine, PlainLines, Quiet, Reporter
from striate.train.run import Run
from striate.train.segmenting import PredictedMask, PredictedMasks, segment

__all__ = [
    "Answer",
    "ClassScore",
    "EpochMetrics",
    "Evaluation",
    "LiveLine",
    "Mistake",
    "PlainLines",
    "PredictedMask",
    "PredictedMasks",
    "Prediction",
    "Predictions",
    "Quiet",
    "Reporter",
    "Run",
    "RunConfig",
    "evaluate",
    "fit",
    "look",
    "new_folder",
    "predict",
    "report_run",
    "resume",
    "save_evaluation",
    "segment",
    "write_report",
]
