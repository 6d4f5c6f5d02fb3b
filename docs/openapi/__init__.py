"""Builds chalicelib/entrypoints/openapi.json, the API's description (OpenAPI 3.1): `python -m docs.openapi`.

Made from the routes of app.py, the JSON Schemas and the table of problems. What only the description has, is in
`operations.py`.
"""
