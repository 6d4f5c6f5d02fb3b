"""The API reference: a page of Swagger UI, whose files are in a package, so that nothing comes from elsewhere.

The laptop's server has it at `/docs`, and never the deployed app; `make docs` writes it as static files.
"""

import json
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Any

PATH = "/docs"
CONTENT_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""The files of Swagger UI that the page needs. The package is of the same version as the Swagger UI in it."""

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>OrderOnce: API reference</title>
  <link rel="icon" href="${folder}favicon-32x32.png">
  <link rel="stylesheet" href="${folder}swagger-ui.css">
</head>
<body>
  <div id="reference"></div>
  <script src="${folder}swagger-ui-bundle.js"></script>
  <script>SwaggerUIBundle(${options});</script>
</body>
</html>
""")


@dataclass(frozen=True)
class File:
    """A file to be served or written."""

    content_type: str
    content: bytes


def page(folder: str, **options: Any) -> File:
    """The page; `folder` is where Swagger UI's files are from there, `options` are Swagger UI's own.

    Without `validatorUrl` as it is here, Swagger UI would send the document's address to a validator elsewhere.
    """
    every = {"dom_id": "#reference", "deepLinking": True, "validatorUrl": None, **options}
    # "</script>" inside the options must not end the script.
    text = _PAGE.substitute(folder=folder, options=json.dumps(every).replace("</", "<\\/"))
    return File("text/html; charset=utf-8", text.encode())


def asset(name: str) -> File:
    """A file of Swagger UI, one of CONTENT_TYPES."""
    path = distribution("flask-swagger-ui").locate_file(f"flask_swagger_ui/dist/{name}")
    return File(CONTENT_TYPES[name], Path(str(path)).read_bytes())


def served(path: str) -> File | None:
    """What the laptop's server answers at this path, if it is one of the reference's; it reads /openapi.json."""
    if path in (PATH, f"{PATH}/"):
        return page(f"{PATH}/", url="/openapi.json")
    name = path.removeprefix(f"{PATH}/")
    return asset(name) if name in CONTENT_TYPES and name != path else None
