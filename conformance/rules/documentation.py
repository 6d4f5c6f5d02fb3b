"""What a client is told beforehand, or when it forgot the key."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from conformance.links import documentation_link
from conformance.rule import Level, draft, rule
from conformance.template import KEY
from conformance.trial import Failed, NotApplicable, Trial
from conformance.wire import Answer


@rule(
    Level.MUST,
    draft("2.5.2"),
    "The API's documentation, which the profile names, speaks of the header.",
    requests=1,
)
def published(trial: Trial) -> None:
    if KEY.lower() not in _documentation(trial).lower():
        raise Failed(f"{trial.profile.documentation} does not name {KEY}")


@rule(
    Level.SHOULD,
    f"{draft('2.3')}; {draft('2.5.2')}",
    "The documentation says how long a key lives, in the words that the profile quotes.",
    requests=1,
)
def expiry(trial: Trial) -> None:
    if trial.profile.expiry is None:
        raise NotApplicable("the profile quotes no promises.expiry; when a key expires cannot be seen from outside")
    if _words(trial.profile.expiry) not in _words(_documentation(trial)):
        raise Failed(f"{trial.profile.documentation} does not say: {trial.profile.expiry}")


@rule(Level.SHOULD, draft("2.7"), "A request without the key that is required is answered 400.", requests=1)
def missing_key(trial: Trial) -> None:
    if (answer := _without_key(trial)).status != 400:
        raise Failed(f"a request without a key was answered {answer.status}")


@rule(
    Level.SHOULD,
    draft("2.7"),
    "The refusal of a request without a key links to documentation, in its content or by the header Link.",
    requests=1,
)
def missing_key_link(trial: Trial) -> None:
    answer = _without_key(trial)
    if answer.accepted:
        raise NotApplicable(f"a request without a key is not refused here ({answer.status})")
    if not documentation_link(answer):
        raise Failed("the answer has no link to documentation")


def _without_key(trial: Trial) -> Answer:
    if not trial.profile.key_required:
        raise NotApplicable("the key is optional here")
    return trial.place(None)


def _documentation(trial: Trial) -> str:
    address = trial.profile.documentation
    if address is None:
        raise NotApplicable("the profile names no promises.documentation")
    if address.startswith("file:"):
        try:
            return Path(unquote(urlsplit(address).path)).read_text("utf-8")
        except OSError as error:
            raise Failed(f"{address} cannot be read: {error.strerror}") from error
    answer = trial.page(address)
    if not answer.accepted:
        raise Failed(f"{address} was answered {answer.status}")
    return answer.body.decode("utf-8", "replace")


def _words(text: str) -> str:
    """Without the marks and line ends of whatever the page is written in."""
    return " ".join(text.replace("*", "").replace("`", "").split()).lower()
