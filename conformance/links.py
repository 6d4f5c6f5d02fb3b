"""Links to documentation in an answer."""

import re

from conformance.wire import Answer

_URL = re.compile(r"https?://[^\s\"'<>]+")


def documentation_link(answer: Answer) -> str | None:
    """Where an answer says that documentation is: by the header Link, by a problem's `type`, or a URL in its content.

    The draft's own examples have only `type`; about:blank is not a link.
    """
    problem = answer.document
    if isinstance(problem, dict) and problem.get("type", "about:blank") != "about:blank":
        return str(problem["type"])
    if (link := answer.header("Link")) and (found := re.search(r"<([^>]+)>", link)):
        return found[1]
    urls = _URL.findall(answer.body.decode("utf-8", "replace"))
    return urls[0] if urls else None
