from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.ingestion.domain.manual import manual
from services.ingestion.domain.profiles import (
    BadHeader,
    Profile,
    UnknownProfile,
    as_json,
    match_header,
    profile,
    profiles,
    template,
)
from tests.unit.ingestion_files.reading import read

ALL = [
    "clients",
    "clockify",
    "contracts",
    "focus",
    "harvest",
    "invoices",
    "mappings",
    "microsoft-daily-cost",
    "microsoft-daily-usage",
    "microsoft-nce",
    "products",
    "time-entries",
    "toggl",
    "usage",
    "vendor-bills",
]


def test_the_profiles_that_there_are() -> None:
    assert list(profiles()) == ALL


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_each_template_ingests_without_a_reject(name: str, zone: str) -> None:
    found = read(name, template(name), zone=zone)
    assert found.survey.rows >= 2
    assert found.made
    assert found.spoilt == []
    assert {record.type for record in found.made} <= {rule.type for rule in profile(name).rules()}


@pytest.mark.parametrize("name", ALL)
def test_each_template_shows_every_column_that_is_needed(name: str) -> None:
    at = match_header(profile(name), template(name).splitlines()[0].split(","))
    assert {column.name for column in profile(name).columns if column.required} <= at.keys()


def test_the_manual_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "formats.md"
    assert page.read_text() == manual(), "run: python -m services.ingestion.domain.manual > docs/formats.md"


def test_headings_are_read_as_people_write_them() -> None:
    assert match_header(profile("clients"), [" Company-ID", "COMPANY NAME", "Timezone"]) == {
        "client": 0,
        "name": 1,
        "time zone": 2,
    }


def test_a_missing_column_is_named_with_those_that_were_found() -> None:
    with pytest.raises(BadHeader) as refused:
        match_header(profile("clients"), ["Name", "Town"])
    assert "needs the column client; found: Name, Town" in refused.value.reason
    assert "plumbline ingest template clients" in refused.value.fix


def test_another_separator_is_recognised() -> None:
    with pytest.raises(BadHeader) as refused:
        match_header(profile("clients"), ["client;name;currency"])
    assert "semicolons" in refused.value.fix


def test_a_heading_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadHeader) as refused:
        match_header(profile("clients"), ["client", "name", "client id"])
    assert "columns 1 and 3 both are client" in refused.value.reason


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownProfile, match="there is no profile 'foucs'; there are clients, clockify, contracts, focus"
    ):
        profile("foucs")


def test_a_declaration_that_names_nothing_is_refused() -> None:
    declared = profile("clients").model_dump(by_alias=True)
    declared["record"][0]["data"]["currency"] = "curency"
    with pytest.raises(ValidationError, match="'curency' is neither a column nor a derived value"):
        Profile.model_validate(declared)


def test_a_heading_of_two_columns_is_refused() -> None:
    declared = profile("clients").model_dump(by_alias=True)
    declared["column"][0]["aliases"] = ["Name"]
    with pytest.raises(ValidationError, match="means both"):
        Profile.model_validate(declared)


def test_a_profile_tells_the_api_what_a_person_needs() -> None:
    told = as_json(profile("usage"))
    assert told["records"] == ["usage.metered.v1"]
    assert told["complete"] is True
    assert told["columns"][0]["name"] == "account"
