"""`kills.yaml`: how long a stop may stay unproved, and which agents are stopped by themselves."""

from typing import Annotated, Final

from pydantic import Field, model_validator

from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.core.rules_model import ANY
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Name, Part, Seconds, Selector, Usd, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

RULES_MAX: Final = 50
"""An agent keeps a bucket in its record for each that means it."""
_SHIPPED: Final = Kills()


class AutomaticEntry(Part):
    """One automatic kill."""

    name: Name
    tenant: Selector = ANY
    agent: Selector = ANY
    spend_usd: Usd | None = None
    asks: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    within_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    shadow: bool = False

    @model_validator(mode="after")
    def _one_amount(self) -> "AutomaticEntry":
        if (self.spend_usd is None) == (self.asks is None):
            raise fault(
                f"The automatic kill '{self.name}' needs exactly one of spend_usd and asks.",
                "For both, write two entries.",
            )
        if self.spend_usd is not None and self.spend_usd <= 0:
            raise fault("An agent would be stopped by the first cent.", "Write more than 0.", "spend_usd")
        return self

    def rule(self) -> AutomaticKill:
        """Give it as the core knows it."""
        return AutomaticKill(
            self.name, self.tenant, self.agent, self.spend_usd, self.asks, self.within_s, self.shadow
        )


class KillsFile(ConfFile):
    """`kills.yaml`; what is left out is as in the file that is shipped."""

    confirm_s: Seconds = _SHIPPED.confirm_s
    automatic: Annotated[list[AutomaticEntry], Field(max_length=RULES_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names(self) -> "KillsFile":
        names = [entry.name for entry in self.automatic]
        for name in names:
            if names.count(name) > 1:
                raise fault(
                    f"Two automatic kills are called '{name}'.", "Give each a name of its own.", "automatic"
                )
        return self


def read_kills(document: Document | None, problems: list[Problem]) -> Kills:
    """Read the file; a document that cannot be read has been reported already, an absent file is the default."""
    file = check(KillsFile, document, (), problems) if document is not None else None
    if file is None:
        return _SHIPPED
    return Kills(file.confirm_s, tuple(entry.rule() for entry in file.automatic))
