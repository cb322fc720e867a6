"""The command line: one file a verb group, loaded only when it is called."""
