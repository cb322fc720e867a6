"""The public contract: events, their encodings, topics, money, time and reasons.

Shared by the supervisor and the adapter, so nothing here imports the rest of the package.
"""
