from recbole_hill.api.compare import Comparison as Comparison
from recbole_hill.api.compare import compare as compare
from recbole_hill.api.dataset import Dataset as Dataset
from recbole_hill.api.evaluation import Evaluation as Evaluation
from recbole_hill.api.evaluation import evaluate as evaluate
from recbole_hill.api.fit import fit as fit
from recbole_hill.api.models import models as models
from recbole_hill.api.run import Run as Run
from recbole_hill.api.run import load as load
from recbole_hill.api.significance import significance as significance

__version__: str
TORCH_CAME_FIRST: bool

def register() -> None: ...
