"""How to cite a release: ``CITATION.cff`` (Citation File Format 1.2.0) and ``datacite.json`` (DataCite 4)."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from lcsd.release.croissant import licence_url
from lcsd.settings.release import ReleaseSettings

DOI = re.compile(r"10\.\d{4,9}/[^\s;,)]*[^\s;,).]")

UNAVAILABLE = ":unav"
"""DataCite's value for what is not known."""


def citation_file(settings: ReleaseSettings, *, description: str) -> str:
    """Return the content of ``CITATION.cff``; without creators, the dataset's own name stands for its authors."""
    authors = settings.creators or (f"the authors of {settings.name}",)
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it and the works in its README.md.",
        "type": "dataset",
        "title": settings.title,
        "abstract": description,
        "version": settings.version,
        "authors": [{"name": name} for name in authors],
        "license": settings.licence,
    }
    if settings.date:
        content["date-released"] = settings.date
    if settings.url:
        content["url"] = settings.url
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def datacite(settings: ReleaseSettings, *, description: str, citations: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``datacite.json``, to register a DOI with.

    The DOI itself is missing, and without a date also the year, which DataCite needs.
    """
    creators = settings.creators or (UNAVAILABLE,)
    content: dict[str, Any] = {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Point clouds and segmentations"},
        "titles": [{"title": settings.title}],
        "creators": [{"name": name} for name in creators],
        "publisher": {"name": creators[0]},
        "version": settings.version,
        "rightsList": [{"rightsIdentifier": settings.licence, "rightsUri": licence_url(settings.licence)}],
        "descriptions": [{"description": description, "descriptionType": "Abstract"}],
        "subjects": [{"subject": "lung CT"}, {"subject": "image registration"}, {"subject": "point cloud"}],
        "relatedIdentifiers": [
            {"relatedIdentifier": doi, "relatedIdentifierType": "DOI", "relationType": "Cites"}
            for doi in dict.fromkeys(doi for text in citations for doi in DOI.findall(text))
        ],
    }
    if settings.date:
        content["publicationYear"] = settings.date[:4]
        content["dates"] = [{"date": settings.date, "dateType": "Issued"}]
    if settings.url:
        content["url"] = settings.url
    return content
