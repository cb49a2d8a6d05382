"""What a report may show: it is passed on to people who must not see personal data."""

from dataclasses import dataclass, field
from typing import Literal

Redact = Literal["all", "values", "none"]
"""What is left out: `all` names of files, columns and events too; `values` the cells of rows and
what the API said about them; `none` nothing."""


@dataclass(slots=True)
class Redaction:
    """Replaces what must not be shown. The same name always gets the same stand-in.

    Args:
        redact: What is left out.
    """

    redact: Redact = "values"
    _stand_ins: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def shows_values(self) -> bool:
        """Whether cells may be shown, and the API's own words, which may repeat them."""
        return self.redact == "none"

    def file(self, name: str) -> str:
        """The name of a file."""
        return self._name("file", name)

    def column(self, name: str) -> str:
        """The name of a column or an attribute."""
        return self._name("column", name)

    def event(self, name: str) -> str:
        """The name of an event."""
        return self._name("event", name)

    def text(self, text: str) -> str:
        """A sentence that names files, columns or events."""
        return "" if self.redact == "all" else text

    def _name(self, kind: str, name: str) -> str:
        if self.redact != "all" or not name:
            return name
        number = sum(each == kind for each, _ in self._stand_ins) + 1
        return self._stand_ins.setdefault((kind, name), f"{kind} {number}")
