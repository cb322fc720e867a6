"""The logs of everything that runs long: worker, notifier, views. No line forged, no secret in any."""

from ops_stream.logs.redact import hide, hide_settings, hide_url, redacted
from ops_stream.logs.setup import last_words, set_up_logs

__all__ = ["hide", "hide_settings", "hide_url", "last_words", "redacted", "set_up_logs"]
