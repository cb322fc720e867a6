"""ops-stream: a supervisor for AI agents, decided and journaled on Kafka."""

__version__ = "0.1.0"
