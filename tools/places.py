#!/usr/bin/env python3
"""Makes tests/cases/places/*.mmdb: where a few addresses of documentation are, and whose networks they belong to.

Nothing in them is true. They have the shape of MaxMind's databases of cities and of autonomous systems. Run it with
`mmdb_writer` installed: `pip install mmdb_writer && tools/places.py`.
"""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

TARGET = Path(__file__).resolve().parent.parent / "tests/cases/places"


def place(continent, country, city=None, latitude=None, longitude=None):
    found = {"continent": {"code": continent}, "country": {"iso_code": country}}
    if city:
        found["city"] = {"names": {"en": city, "de": f"{city} (de)"}}
        found["location"] = {"latitude": latitude, "longitude": longitude}
    return found


def network(number, organisation):
    return {"autonomous_system_number": number, "autonomous_system_organization": organisation}


BONN = place("EU", "DE", "Bonn", 50.75, 7.125)
HARBOUR = network(64496, "Harbour Net")
ISLAND = network(64497, "Island Telecom")

CITIES = {
    "192.0.2.0/28": BONN,
    "192.0.2.16/28": place("EU", "DE", "Ulm", 48.5, 10.0),
    "192.0.2.32/28": place("EU", "AT", "Graz", 47.0, 15.5),
    "192.0.2.48/28": place("EU", "AT"),
    "198.51.100.0/24": place("NA", "US", "Salem", 45.0, -123.0),
    "2001:db8:1::/48": BONN,
}
NETWORKS = {
    "192.0.2.0/28": HARBOUR,
    "192.0.2.16/28": HARBOUR,
    "192.0.2.32/28": ISLAND,
    "198.51.100.0/24": ISLAND,
    "2001:db8:1::/48": HARBOUR,
}

TARGET.mkdir(parents=True, exist_ok=True)
for name, kind, entries in [("city", "GeoLite2-City", CITIES), ("asn", "GeoLite2-ASN", NETWORKS)]:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind, languages=["en"],
                        description="Made for tests. Nothing in it is true.", float_type="f64", int_type="u32")
    for addresses, value in entries.items():
        writer.insert_network(IPSet([addresses]), value)
    writer.to_db_file(str(TARGET / f"{name}.mmdb"))
