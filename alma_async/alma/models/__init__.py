"""Alma's objects as attrs classes, under Alma's own names. Nothing that Alma sent is lost; see
``alma_async._http.codec``.
"""

from alma_async.alma.models.bibs import Bib, Identifier, LinkedRecord
from alma_async.alma.models.common import (
    Coded,
    Counted,
    GroupSetting,
    Interface,
    Linked,
    Note,
    ResourceMetadata,
    code_of,
)
from alma_async.alma.models.electronic import (
    CdiInfo,
    CollectionAndService,
    CoverageDetails,
    DateCoverage,
    ElectronicCollection,
    ElectronicService,
    EmbargoInformation,
    LinkingDetails,
    Portfolio,
)
from alma_async.alma.models.jobs import (
    ALL,
    Counter,
    Job,
    JobAction,
    JobEvent,
    JobInfo,
    JobInstance,
    JobMatch,
    JobParameter,
)
from alma_async.alma.models.sets import AlmaSet, SetMember, SetMembers

__all__ = [
    "ALL",
    "AlmaSet",
    "Bib",
    "CdiInfo",
    "Coded",
    "CollectionAndService",
    "Counted",
    "Counter",
    "CoverageDetails",
    "DateCoverage",
    "ElectronicCollection",
    "ElectronicService",
    "EmbargoInformation",
    "GroupSetting",
    "Identifier",
    "Interface",
    "Job",
    "JobAction",
    "JobEvent",
    "JobInfo",
    "JobInstance",
    "JobMatch",
    "JobParameter",
    "Linked",
    "LinkedRecord",
    "LinkingDetails",
    "Note",
    "Portfolio",
    "ResourceMetadata",
    "SetMember",
    "SetMembers",
    "code_of",
]
