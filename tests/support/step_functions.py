"""A deployed stage whose saga runs on a state machine: its part of config.json, as docs/engines.md says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from deploy.merging import merged
from deploy.stages import config
from tests.support.snippets import snippet


@contextmanager
def step_functions(stage: str, account: str = "123456789012") -> Iterator[None]:
    """As long as it lasts, the stage is configured so, in this account."""
    own = config()["stages"][stage]
    text = snippet("docs/engines.md", '"environment_variables"').text
    added = json.loads(text.replace("-dev-", f"-{stage}-").replace("123456789012", account))
    with patch.dict(own, merged(own, added)):
        yield
