"""Writing text that came over the bus so that a terminal, or a log, only shows it.

It may be hostile: control characters move the cursor, a line separator forges a line, invisible and bidirectional marks
make one text look like another.
"""

from __future__ import annotations

import json
import re
from typing import Final

# Controls, the soft hyphen, bidirectional and invisible marks, line separators, half characters, tags.
UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def clean(text: object, keep: str = "") -> str:
    """Write a text so that a terminal only shows it: controls and invisible characters as escapes."""

    def escape(match: re.Match[str]) -> str:
        character = match.group()
        if character in keep:
            return character
        code = ord(character)
        return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{{{code:x}}}")

    return UNSAFE.sub(escape, str(text))


def to_json(row: object) -> str:
    """Write one line of JSON that a terminal can show as well: what is unsafe there stays escaped."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
    return UNSAFE.sub(lambda match: json.dumps(match.group())[1:-1], text)
