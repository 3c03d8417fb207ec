"""Where a benchmark finds the package and the tests' helpers: imported before either."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("workflow/scripts", "tests/helpers")]
