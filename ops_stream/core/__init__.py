"""Pure decisions: what the supervisor answers, from state, input, rules and a time that is handed in.

Nothing here reads a clock, a file, a socket or a source of chance, so that the same journal always gives the
same answers.
"""
