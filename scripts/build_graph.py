"""Build a graph folder from a recipe: python scripts/build_graph.py graphs/ml-1m.yaml --data DIR --out ml-1m.graph"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kgrec.errors import KgrecError


def main() -> int:
    """Exit codes: 0: done; 1: the data or the recipe is wrong; 2: wrong usage."""
    parser = argparse.ArgumentParser(description="Build a graph folder from a recipe and its files.")
    parser.add_argument("recipe", type=Path, help="a recipe, such as graphs/ml-1m.yaml")
    parser.add_argument("--data", type=Path, help="folder of the source files (default: the one named in the recipe)")
    parser.add_argument("--out", type=Path, required=True, help="the graph folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    given = parser.parse_args()
    from kgrec.sources.building import build_to

    try:
        report = build_to(given.recipe, given.data, given.out, given.overwrite)
    except KgrecError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
