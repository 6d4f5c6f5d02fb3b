"""A deployed stage whose saga runs on a state machine: its part of config.json, as docs/engines.md says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from deploy.merging import merged
from deploy.stages import config
from tests.support.snippets import snippet


@contextmanager
def step_functions(stage: str) -> Iterator[None]:
    """As long as it lasts, the stage is configured so."""
    own = config()["stages"][stage]
    added = json.loads(snippet("docs/engines.md", '"environment_variables"').text.replace("-dev-", f"-{stage}-"))
    with patch.dict(own, merged(own, added)):
        yield
