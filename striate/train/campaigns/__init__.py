"""Many runs that answer one question: cross-validation, repeated seeds, searches, and the comparison of runs.

::

    config = RunConfig(model="lenet", data="digits28")
    print(cross_validate(config, "runs/folds", folds=5).metrics["accuracy"])
    print(repeat(config, "runs/seeds", repeats=5).metrics["accuracy"])
    print(search(config, "runs/search", trials=30).best)
    print(find_runs("runs").where("val_accuracy > 0.9").rows)
"""

from striate.train.campaigns.comparison import Broken, Comparison, RunRow, find_runs
from striate.train.campaigns.cross_validation import cross_validate
from striate.train.campaigns.folder import campaign_folder
from striate.train.campaigns.members import Campaign
from striate.train.campaigns.repetition import repeat
from striate.train.campaigns.space import Space, default_space
from striate.train.campaigns.statistics import Spread, spread
from striate.train.campaigns.trials import Trial
from striate.train.campaigns.tuning import Search, search

__all__ = [
    "Broken",
    "Campaign",
    "Comparison",
    "RunRow",
    "Search",
    "Space",
    "Spread",
    "Trial",
    "campaign_folder",
    "cross_validate",
    "default_space",
    "find_runs",
    "repeat",
    "search",
    "spread",
]
