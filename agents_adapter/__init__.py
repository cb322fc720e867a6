"""What an agent needs to ask before it acts and to report after, and nothing of the supervisor."""

from agents_adapter.approval import Approval, current_approval
from agents_adapter.client import OpsClient
from agents_adapter.errors import Denied, NoAnswer, Refused, Revoked
from agents_adapter.serve import Assignment, Done, serves
from agents_adapter.supervise import supervise, supervised
from agents_adapter.sync import SyncOpsClient

__all__ = [
    "Approval",
    "Assignment",
    "Denied",
    "Done",
    "NoAnswer",
    "OpsClient",
    "Refused",
    "Revoked",
    "SyncOpsClient",
    "current_approval",
    "serves",
    "supervise",
    "supervised",
]
