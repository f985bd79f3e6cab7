"""The parts of a URL, and where the site domain goes."""

from __future__ import annotations

import pytest

from alma_async import ConfigurationError
from alma_async.polaris import routes
from alma_async.polaris.routes import Place, at_site

PLACE = Place(organization_id=8, workstation_id=633)


def test_the_documented_order_of_the_parts():
    """Version, language, product, site, organization, workstation; the login goes without the last three."""
    path = routes.RECORD_SETS.bind(*PLACE.parts).path
    assert path == "/Polaris.ApplicationServices/api/v1/eng/20/polaris/8/633/recordsets"
    login = routes.LOGIN.bind(*PLACE.parts[:2]).path
    assert login == "/Polaris.ApplicationServices/api/v1/eng/20/authentication/staffuser"


def test_another_site():
    """The site domain that a login names takes its place in the path, and only there."""
    place = Place(organization_id=8, workstation_id=633, site_domain="recordsets")
    path = routes.RECORDS.bind(*place.parts, "5").path
    assert (
        at_site(path, "north")
        == "/Polaris.ApplicationServices/api/v1/eng/20/north/8/633/recordsets/5/records"
    )


@pytest.mark.parametrize(
    "part",
    [
        {"organization_id": 0},
        {"workstation_id": -1},
        {"product_id": 25},
        {"product_id": -1},
        {"language": "deu"},
        {"site_domain": ""},
        {"site_domain": "a/b"},
        {"site_domain": "ä"},
    ],
)
def test_parts_that_cannot_be(part):
    """Each part is held to its documented values, or to what one segment of a path can hold."""
    with pytest.raises(ConfigurationError):
        Place(**{"organization_id": 8, "workstation_id": 633, **part})
