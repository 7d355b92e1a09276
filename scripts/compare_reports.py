"""Compares the numbers of two report.json files key by key; exits 1 and names the first differences where there are any.

    python scripts/compare_reports.py BEFORE/report.json AFTER/report.json [--tolerance 1e-9]

Text may differ in wording (keys in TEXT) and keys may be new; names and numbers may not differ. A status that was one
text is equal to its code and reason.
"""

import argparse
import json
import math
import sys
from pathlib import Path

TEXT = {"title", "reason", "note", "dft_note", "dft_geometry", "formula", "consequence", "claimed", "topic"}


def said(status):
    """The texts that a status may have been shown as."""
    if isinstance(status, dict):
        code, reason = status["code"], status["reason"]
        return {code, reason, f"{code}: {reason}"} - {""}
    return {status}


def differences(before, after, path="", *, tolerance=1e-9):
    """Where two JSON values differ: (path, before, after), in order."""
    if path.endswith(".status"):
        return [] if said(before) & said(after) else [(path, before, after)]
    if isinstance(before, dict) and isinstance(after, dict):
        out = [(f"{path}.{k}", before[k], None) for k in sorted(before.keys() - after.keys())]
        for key in before.keys() & after.keys():
            if key not in TEXT:
                out += differences(before[key], after[key], f"{path}.{key}", tolerance=tolerance)
        return out
    if isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return [(path, f"{len(before)} entries", f"{len(after)} entries")]
        pairs = enumerate(zip(before, after, strict=True))
        return [d for k, (b, a) in pairs for d in differences(b, a, f"{path}[{k}]", tolerance=tolerance)]
    if isinstance(before, float) and isinstance(after, float):
        return [] if math.isclose(before, after, rel_tol=0, abs_tol=tolerance) else [(path, before, after)]
    return [] if before == after else [(path, before, after)]


def main():
    parser = argparse.ArgumentParser(description="Compare the numbers of two reports.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-9, help="largest difference of two numbers (1e-9)")
    options = parser.parse_args()
    read = [json.loads(path.read_text(encoding="utf-8")) for path in (options.before, options.after)]
    found = differences(*read, tolerance=options.tolerance)
    for path, before, after in found[:20]:
        print(f"{path.lstrip('.')}: {before!r} -> {after!r}")
    print(f"{len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
