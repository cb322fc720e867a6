"""An order that cannot be obeyed."""


class Refused(Exception):
    """`reason` is for programs, `why` a half-sentence for people."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
