"""The logs of everything that runs long: worker, notifier, views. Lines for people, or JSON."""

from ops_stream.logs.setup import set_up_logs

__all__ = ["set_up_logs"]
