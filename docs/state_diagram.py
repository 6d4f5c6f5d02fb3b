"""Draws the life cycle of an order from the table of transitions: `python -m docs.state_diagram` writes the page again.

`docs/state_diagram.md` is made by this, never by hand; tests/domain/test_state_diagram.py fails when it is stale.
"""

from pathlib import Path

from chalicelib.domain.events import EVENTS
from chalicelib.domain.order import TRANSITIONS, Status, verbs_from

PAGE = Path(__file__).with_suffix(".md")

_TEXT = """\
# The life cycle of an order

Made by `python -m docs.state_diagram` from `TRANSITIONS` in `chalicelib/domain/order.py`; do not edit it here.

```mermaid
{diagram}
```

| status | what is possible from there | its event |
| --- | --- | --- |
{rows}

`reserve`, `confirm`, `reject` and `decline` are the consumer's; `cancel`, `ship` and `deliver` are asked for
through the API. Every arrow is one conditional write, on condition of the status that it starts from: of two at once,
one wins, and the other goes on from there.
"""


def page() -> str:
    """The page as it should be."""
    return _TEXT.format(diagram="\n".join(_diagram()), rows="\n".join(map(_row, Status)))


def _diagram() -> list[str]:
    sources = {arrow.source for arrow in TRANSITIONS}
    targets = {arrow.target for arrow in TRANSITIONS}
    return [
        "stateDiagram-v2",
        *(f"    [*] --> {status}" for status in Status if status not in targets),
        *(f"    {arrow.source} --> {arrow.target}: {arrow.verb}" for arrow in TRANSITIONS),
        *(f"    {status} --> [*]" for status in Status if status not in sources),
    ]


def _row(status: Status) -> str:
    verbs = ", ".join(f"`{verb}`" for verb in verbs_from(status)) or "nothing: an end"
    event = f"`{EVENTS[status]}`" if status in EVENTS else "none"
    return f"| {status} | {verbs} | {event} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
