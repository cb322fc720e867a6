"""ops-stream: a supervisor for AI agents, decided and journaled on Kafka."""

from typing import Final

__version__: Final = "0.1.0"
