"""README lists every check type with its arguments, as the code has them."""

from pathlib import Path

import pytest

from qwen_lightning.tasks.checks import IFEVAL_TYPES, Check, CheckRegistry, arguments_of

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
IFEVAL_IDS = {check: instruction for instruction, check in IFEVAL_TYPES.items()}


def table_row(check: type[Check]) -> str:
    """The line of README's table for a check type."""
    arguments = " ".join(f"`{name}`" for name in arguments_of(check))
    meaning = (check.__doc__ or "").splitlines()[0].rstrip(".").replace("|", "\\|")
    instruction = f"`{IFEVAL_IDS[check.type]}`" if check.type in IFEVAL_IDS else ""
    return f"| `{check.type}` | {arguments} | {meaning} | {instruction} |"


@pytest.mark.parametrize("check", CheckRegistry().values(), ids=lambda check: check.type)
def test_readme_lists_the_check(check):
    assert table_row(check) in README
