"""Shape-only runs load PyTorch's compiler, which names its cache folder in the environment if nobody has."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "torchinductor_striate_tests"))
