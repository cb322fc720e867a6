"""What docs/workflows.md and docs/serving.md hand in is taken as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops_stream.cli.workflows import check, read
from ops_stream.contract.models import Step

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "language"), [("workflows.md", "json"), ("serving.md", "yaml")])
def test_the_workflows_shown_have_no_field_that_is_passed_over(
    page: str, language: str, tmp_path: Path
) -> None:
    """The command line reads each and finds nothing to object to."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    path = tmp_path / f"w.{language}"
    path.write_text(text)
    body = read(str(path))
    check(body, str(path))
    assert len(body["steps"]) == 3


def test_the_page_names_every_field_of_a_step() -> None:
    """What the example does not have is named beside it."""
    page = (DOCS / "workflows.md").read_text("utf-8")
    names = [field.alias or name for name, field in Step.model_fields.items()]
    assert [name for name in names if f'"{name}"' not in page and f"`{name}`" not in page] == []
