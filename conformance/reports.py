"""What a run found, for people (text), for programs (JSON) and for a CI server (JUnit). Credentials are not shown."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from conformance.rule import Result, Verdict
from conformance.run import Run
from conformance.wire import Answered, Exchange, Fields

HIDDEN = "[hidden]"
MAX_CONTENT = 2000
SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-amz-security-token"}
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_text(run: Run, strict: bool) -> str:
    """A line for each rule; for each that is not kept, what was seen and the requests that show it."""
    hide = _hiding(run)
    lines = [hide(f"{run.profile.name} at {run.url}"), ""]
    for one in run.verdicts:
        mark = {Result.PASS: "pass", Result.FAIL: "FAIL", Result.NOT_APPLICABLE: "n/a"}[one.result]
        lines.append(f"{mark:<5}{one.rule.level:<7} {one.rule.id:<23} {one.rule.text}")
        if one.result is Result.NOT_APPLICABLE:
            lines.append(f"     because {hide(one.reason)}")
        elif one.result is Result.FAIL:
            lines += [f"     {hide(one.reason)}", f"     source: {one.rule.source}"]
            lines += [f"       {line}" for exchange in one.exchanges for line in _exchange_lines(exchange, run)]
    return "\n".join([*lines, "", _summary(run, strict), ""])


def as_json(run: Run, strict: bool) -> str:
    """Everything: each rule with its result, its source, and all requests and answers that show it."""
    hide = _hiding(run)
    rules = [
        {
            "id": one.rule.id,
            "level": one.rule.level,
            "source": one.rule.source,
            "text": one.rule.text,
            "result": one.result,
            "reason": hide(one.reason),
            "exchanges": [_exchange_document(exchange, run) for exchange in one.exchanges],
        }
        for one in run.verdicts
    ]
    document = {
        "api": hide(run.url),
        "profile": hide(run.profile.name),
        "passed": not run.failed(strict),
        "summary": dict(Counter(one.result for one in run.verdicts)),
        "rules": rules,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_junit(run: Run, strict: bool) -> str:
    """One test case for each rule. One that fails, but does not count, is skipped with what was seen."""
    hide = _hiding(run)
    counting = run.failed(strict)
    skipped = [one for one in run.verdicts if one.result is not Result.PASS and one not in counting]
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(hide(f"conformance of {run.profile.name}")),
        tests=str(len(run.verdicts)),
        failures=str(len(counting)),
        errors="0",
        skipped=str(len(skipped)),
    )
    for one in run.verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=f"conformance.{one.rule.level}", name=one.rule.id)
        if one in counting:
            failure = ElementTree.SubElement(case, "failure", type=one.rule.level, message=_xml(hide(one.reason)))
            failure.text = _xml(_details(one, run))
        elif one in skipped:
            what = f"{one.rule.level} not kept: " if one.result is Result.FAIL else ""
            ElementTree.SubElement(case, "skipped", message=_xml(what + hide(one.reason)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: dict[str, Callable[[Run, bool], str]] = {"text": as_text, "json": as_json, "junit": as_junit}


def _summary(run: Run, strict: bool) -> str:
    found = Counter((one.result, one.rule.level) for one in run.verdicts)
    failed = ", ".join(f"{count} {level}" for (result, level), count in sorted(found.items()) if result is Result.FAIL)
    kept = sum(count for (result, _), count in found.items() if result is Result.PASS)
    without = sum(count for (result, _), count in found.items() if result is Result.NOT_APPLICABLE)
    end = "not conformant" if run.failed(strict) else "conformant"
    return f"{kept} kept, {without} not applicable, not kept: {failed or 'none'}. {end}{' (strict)' if strict else ''}"


def _details(verdict: Verdict, run: Run) -> str:
    lines = [verdict.rule.text, f"source: {verdict.rule.source}"]
    return "\n".join([*lines, *(line for exchange in verdict.exchanges for line in _exchange_lines(exchange, run))])


def _exchange_lines(exchange: Exchange, run: Run) -> list[str]:
    shown = _exchange_document(exchange, run)
    request, answer = shown["request"], shown["answer"]
    lines = [f"> {request['method']} {request['target']}"]
    lines += [f"> {name}: {value}" for name, value in request["headers"]]
    lines += [f"> {request['content']}"] if request["content"] else []
    if not answer:
        return [*lines, f"< {shown['note']}"]
    lines += [f"< {answer['status']}", *(f"< {name}: {value}" for name, value in answer["headers"])]
    return lines + ([f"< {answer['content']}"] if answer["content"] else [])


def _exchange_document(exchange: Exchange, run: Run) -> dict[str, Any]:
    hide = _hiding(run)
    request = exchange.request

    def headers(fields: Fields) -> list[list[str]]:
        secret = SECRET_HEADERS | {name.lower() for name in run.profile.credentials}
        return [[name, HIDDEN if name.lower() in secret else hide(value)] for name, value in fields]

    def content(body: bytes) -> str:
        # Hidden first: a secret that is cut off would not be recognized.
        text = hide(body.decode("utf-8", "replace"))
        return text if len(text) <= MAX_CONTENT else f"{text[:MAX_CONTENT]}… ({len(body)} bytes)"

    document: dict[str, Any] = {
        "request": {
            "method": request.method,
            "target": hide(request.target),
            "headers": headers(request.headers),
            "content": content(request.body),
        },
        "answer": None,
    }
    if not isinstance(exchange, Answered):
        return document | {"note": hide(exchange.note)}
    answer = exchange.answer
    document["answer"] = {"status": answer.status, "headers": headers(answer.headers), "content": content(answer.body)}
    return document


def _hiding(run: Run) -> Callable[[str], str]:
    """Replaces what came from the environment, wherever it is: in a URL, in contents, in an answer that repeats it."""
    written = {form for secret in run.profile.secrets for form in (secret, quote(secret), quote(secret, safe=""))}
    if not written:
        return lambda text: text
    secrets = re.compile("|".join(map(re.escape, sorted(written, key=len, reverse=True))))
    return lambda text: secrets.sub(HIDDEN, text)


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
