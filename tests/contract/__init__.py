"""The contract: events, encodings, topics, money, time."""
