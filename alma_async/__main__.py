"""``python -m alma_async`` is the command ``alma-async``."""

from __future__ import annotations

from alma_async.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
