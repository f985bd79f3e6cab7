"""Innovative Polaris: record sets with their contents, over the same session core and governor as
Alma.

    async with PolarisClient("https://polaris.example.org", organization_id=3, workstation_id=1,
                             auth=StaffPassword("DOMAIN", "user", "password")) as polaris:
        change = await polaris.record_sets.create("My record set", ObjectType.BIBLIOGRAPHIC, records=[275071, 275072])

What is known of the vendor's API, and how surely, is said where it is used: documented, seen in
clients or recordings, inferred.
"""

from __future__ import annotations

from alma_async.polaris.client import PolarisClient
from alma_async.polaris.login import ApiKey, BearerToken, StaffPassword
from alma_async.polaris.models import (
    AuthorityRecord,
    BibliographicRecord,
    ItemRecord,
    ObjectType,
    PatronRecord,
    Record,
    RecordSet,
    RecordSetChange,
    ServerStatus,
)

__all__ = [
    "ApiKey",
    "AuthorityRecord",
    "BearerToken",
    "BibliographicRecord",
    "ItemRecord",
    "ObjectType",
    "PatronRecord",
    "PolarisClient",
    "Record",
    "RecordSet",
    "RecordSetChange",
    "ServerStatus",
    "StaffPassword",
]
