"""Errors as RFC 9457 problem details: one place says what each looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

CONTENT_TYPE = "application/problem+json"
_TYPES = "https://orderonce.example/problems/"


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is an error. `kind` is the last part of its stable `type`; None for one that HTTP itself names."""

    status: int
    kind: str | None
    title: str
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_status(cls, status: int, detail: str, headers: Mapping[str, str] | None = None) -> "Problem":
        """An error that HTTP itself names."""
        return cls(status, None, HTTPStatus(status).phrase, detail, headers=headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The members of the problem document."""
        type_ = f"{_TYPES}{self.kind}" if self.kind else "about:blank"
        return {"type": type_, "title": self.title, "status": self.status, "detail": self.detail, **self.extra}
