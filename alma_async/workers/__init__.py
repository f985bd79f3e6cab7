"""Tasks that several machines carry out over one store.

What is here knows no engine, or is thin over one (Procrastinate, the extra ``worker``).
"""

from __future__ import annotations

from alma_async.workers.disposition import Disposition, ReadBack, Reject, Retry, Stop, disposition

__all__ = ["Disposition", "ReadBack", "Reject", "Retry", "Stop", "disposition"]
