"""`ops-stream audit`: prove the journal, and ask it."""

from __future__ import annotations

import click

from ops_stream.cli.audit_bypass import bypass
from ops_stream.cli.audit_explain import explain
from ops_stream.cli.audit_export import export
from ops_stream.cli.audit_replay import replay
from ops_stream.cli.audit_restore import restore
from ops_stream.cli.audit_verify import verify


@click.group()
def audit() -> None:
    """Prove that the journal is whole, that its decisions follow from it, and that they are what went out.

    \b
    ops-stream audit verify
    ops-stream audit explain r-17
    ops-stream audit bypass
    ops-stream audit replay --rules conf-new/
    ops-stream audit export --out journal.jsonl.gz
    ops-stream audit restore journal.jsonl.gz
    """


audit.add_command(verify)
audit.add_command(explain)
audit.add_command(replay)
audit.add_command(export)
audit.add_command(restore)
audit.add_command(bypass)
