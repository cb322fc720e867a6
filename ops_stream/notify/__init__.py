"""Tells people outside what waits for them and what is wrong: webhooks, by Slack's and by a generic JSON."""
