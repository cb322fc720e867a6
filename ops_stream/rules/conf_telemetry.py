"""`telemetry.yaml`: what reports are believed, what is learned from them, which figures are kept."""

from typing import Final

from ops_stream.core.rules_telemetry import TelemetryRules
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

_SHIPPED: Final = TelemetryRules()


class TelemetryFile(ConfFile):
    """`telemetry.yaml`; what is left out is as in the file that is shipped."""


def read_telemetry(document: Document | None, problems: list[Problem]) -> TelemetryRules:
    """Read the file; a document that cannot be read has been reported already, an absent file is the default."""
    if document is not None:
        check(TelemetryFile, document, (), problems)
    return _SHIPPED
