"""`python -m tests.runs.golden [--update]`."""

import json
import sys

from tests.runs.golden import CONFIGURATIONS, RECORDS, digest, platform, records
from unfold.cli.console import say


def main() -> int:
    found = {name: digest(name) for name in CONFIGURATIONS}
    known = records()
    before = known.get(platform(), {})
    changed = [name for name, value in found.items() if before.get(name) != value]
    if "--update" in sys.argv[1:]:
        content = json.dumps(known | {platform(): found}, indent=2, sort_keys=True)
        RECORDS.write_text(content + "\n", encoding="utf-8")
        say(f"recorded {len(found)} for {platform()}; new or changed: {len(changed)}")
        return 0
    for name in changed:
        say(f"{name}: {before.get(name, 'no record')}, now {found[name]}")
    say(f"{len(found) - len(changed)} of {len(found)} as on record for {platform()}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
