"""Static pages about the API, its problems and its events: `python -m docs.site FOLDER`, or `make docs`.

They can be read from a disk as well as from a web server, and need nothing from elsewhere. Each problem is at
`problems/NAME/`, so the folder may be published where PROBLEM_BASE_URL says.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from markdown_it import MarkdownIt

from docs import asyncapi, postman
from docs.openapi.document import BUILT
from local import api_reference

DOCS = Path(__file__).parent

_INDEX = """\
# OrderOnce: the API

- [API reference](api/index.html), made of [openapi.json](openapi.json) (OpenAPI 3.1)
- [Events and messages](events/index.html), made of [asyncapi.json](asyncapi.json) (AsyncAPI 3)
- [postman_collection.json](postman_collection.json), a walk through the API for Postman
- Problems: $problems
"""

_HTML = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>$title</title>
  <style>
    body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
    table { border-collapse: collapse; }
    th, td { text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; padding: .3rem .8rem .3rem 0; }
    pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
  </style>
</head>
<body>
$body</body>
</html>
""")


def files() -> Mapping[str, bytes]:
    """Every file by its path."""
    openapi, problems = BUILT.read_bytes(), sorted((DOCS / "problems").glob("*.md"))
    # A browser reads no JSON file from a disk, so the page has the document in it; there is no API to try there either.
    reference = api_reference.page("", spec=json.loads(openapi), supportedSubmitMethods=[])
    links = ", ".join(f"[{page.stem}](problems/{page.stem}/index.html)" for page in problems)
    return {
        "index.html": _html(_INDEX.replace("$problems", links)),
        "openapi.json": openapi,
        "api/index.html": reference.content,
        **{f"api/{name}": api_reference.asset(name).content for name in api_reference.CONTENT_TYPES},
        "asyncapi.json": asyncapi.DOCUMENT.read_bytes(),
        "events/index.html": _html("\n".join(_events(asyncapi.document()))),
        "postman_collection.json": postman.COLLECTION.read_bytes(),
        **{f"problems/{page.stem}/index.html": _problem(page) for page in problems},
    }


def _problem(page: Path) -> bytes:
    """The page of a problem. Another problem's page is linked; other pages of the repository are not here."""

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        return f"[{text}](../{Path(target).stem}/index.html)" if (page.parent / target).parent == page.parent else text

    return _html(re.sub(r"\[(.+?)\]\((.+?)\)", link, page.read_text("utf-8")))


def _html(markdown: str) -> bytes:
    """The page of a text, under its first heading."""
    title = markdown.partition("\n")[0].removeprefix("# ")
    return _HTML.substitute(title=title, body=MarkdownIt().enable("table").render(markdown)).encode()


def _events(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a page about an AsyncAPI document."""
    info, components = document["info"], document["components"]
    yield f"# {info['title']}\n\n{info['description']}"
    for channel in document["channels"].values():
        yield f"\n## {channel['title']}: `{channel['address']}`\n"
        for name in channel["messages"]:
            message = components["messages"][name]
            yield f"\n### {message['name']}: {message['title']}\n\n{message.get('summary', '')}\n"
            (example,) = message["examples"]
            yield f"```json\n{json.dumps(example['payload'], indent=2, default=float)}\n```"
    for name, schema in components["schemas"].items():
        yield f"\n## {name}\n\n{schema['description']}\n"
        yield "| field | type | required | meaning |\n| --- | --- | --- | --- |"
        required = schema["required"]
        for field, of_field in schema["properties"].items():
            meaning = of_field.get("description", "")
            yield f"| `{field}` | {_type(of_field)} | {'yes' if field in required else ''} | {meaning} |"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return ", ".join(f"`{value}`" for value in values) or str(schema["type"])


def write(folder: Path) -> None:
    """Write all files into a folder, which may have older ones."""
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
