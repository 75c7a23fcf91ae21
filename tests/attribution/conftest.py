"""Makes `tiny_networks` importable beside the tests, whichever way they are collected."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
