"""An asyncio client of the Ex Libris Alma REST API that shares one institution's allowance fairly.

``AlmaClient`` is where to begin. The public names are imported at their first use, so that
``alma-async --help`` does not load an HTTP client. Beside them: ``alma_async.load`` (bulk loads),
``.polaris``, ``.webhooks``, ``.sim``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alma_async._version import __version__

if TYPE_CHECKING:
    from alma_async._core.pager import Pager
    from alma_async._governance.budget import LocalBudget, Machine, StoreUse
    from alma_async._governance.file_budget import MachineBudget
    from alma_async._governance.governor import QuotaSnapshot
    from alma_async._secret import Secret
    from alma_async.alma.analytics import ReportReader
    from alma_async.alma.bibs import BibReader
    from alma_async.alma.client import AlmaClient, RawAnswer
    from alma_async.alma.jobs import JobRun
    from alma_async.alma.members import MembersChange
    from alma_async.alma.models.bibs import Bib, Identifier
    from alma_async.alma.models.common import Coded, Linked
    from alma_async.alma.models.electronic import ElectronicCollection, ElectronicService, Portfolio
    from alma_async.alma.models.jobs import Job, JobInstance
    from alma_async.alma.models.sets import AlmaSet, SetMember
    from alma_async.errors import (
        AlmaError,
        BadAnswer,
        ClientClosed,
        ConfigurationError,
        DeadlineExceeded,
        InvalidRequest,
        JobOverlap,
        JobThresholdReached,
        NotFound,
        NotSent,
        OutcomeUnknown,
        QuotaExhausted,
        RateLimited,
        ReadOnly,
        RetryLater,
        ServerFault,
        StoreUnavailable,
        Unauthorized,
        UnexpectedEnvironment,
    )
    from alma_async.store import Store, StoreCheck
from alma_async.settings import JobLimits, Limits, Priority, RetryPolicy, Timeouts

__all__ = [
    "AlmaClient",
    "AlmaError",
    "AlmaSet",
    "BadAnswer",
    "Bib",
    "BibReader",
    "ClientClosed",
    "Coded",
    "ConfigurationError",
    "DeadlineExceeded",
    "ElectronicCollection",
    "ElectronicService",
    "Identifier",
    "InvalidRequest",
    "Job",
    "JobInstance",
    "JobLimits",
    "JobOverlap",
    "JobRun",
    "JobThresholdReached",
    "Limits",
    "Linked",
    "LocalBudget",
    "Machine",
    "MachineBudget",
    "MembersChange",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Pager",
    "Portfolio",
    "Priority",
    "QuotaExhausted",
    "QuotaSnapshot",
    "RateLimited",
    "RawAnswer",
    "ReadOnly",
    "ReportReader",
    "RetryLater",
    "RetryPolicy",
    "Secret",
    "ServerFault",
    "SetMember",
    "Store",
    "StoreCheck",
    "StoreUnavailable",
    "StoreUse",
    "Timeouts",
    "Unauthorized",
    "UnexpectedEnvironment",
    "__version__",
]

_HOMES = {
    "AlmaClient": "alma.client",
    "RawAnswer": "alma.client",
    "Bib": "alma.models.bibs",
    "BibReader": "alma.bibs",
    "ReportReader": "alma.analytics",
    "Identifier": "alma.models.bibs",
    "Coded": "alma.models.common",
    "Linked": "alma.models.common",
    "ElectronicCollection": "alma.models.electronic",
    "ElectronicService": "alma.models.electronic",
    "Portfolio": "alma.models.electronic",
    "AlmaSet": "alma.models.sets",
    "SetMember": "alma.models.sets",
    "MembersChange": "alma.members",
    "Job": "alma.models.jobs",
    "JobInstance": "alma.models.jobs",
    "JobRun": "alma.jobs",
    "LocalBudget": "_governance.budget",
    "Machine": "_governance.budget",
    "MachineBudget": "_governance.file_budget",
    "StoreUse": "_governance.budget",
    "QuotaSnapshot": "_governance.governor",
    "Pager": "_core.pager",
    "Store": "store",
    "StoreCheck": "store",
    **dict.fromkeys(("JobLimits", "Limits", "Priority", "RetryPolicy", "Secret", "Timeouts"), "settings"),
}


def __dir__() -> list[str]:
    """All public names, for ``dir()``, ``help()`` and completion, which import them."""
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a checker goes by the imports above, and so sees a name that there is not

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"alma_async.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
