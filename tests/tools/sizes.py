"""Holds the code to its sizes: a function fits a glance, a module a sitting.

python tests/tools/sizes.py
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60


def too_long(folder: Path) -> Iterator[str]:
    """The modules and functions below a folder that have outgrown their sizes."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > MODULE_LINES_MAX:
            yield f"{path}: {lines} lines; {MODULE_LINES_MAX} fit a sitting"
        for each in ast.walk(ast.parse(text)):
            if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (each.end_lineno or each.lineno) - each.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{path}:{each.lineno} {each.name}: {lines} lines; 60 fit a glance"


if __name__ == "__main__":
    found = [each for folder in ("backfill", "pipelines") for each in too_long(Path(folder))]
    print("\n".join(found) or "Sizes kept.")
    sys.exit(bool(found))
