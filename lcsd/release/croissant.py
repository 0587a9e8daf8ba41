"""``croissant.json``: a description of the release for search engines and loaders.

MLCommons Croissant 1.0 (http://mlcommons.org/croissant/1.0), JSON-LD on schema.org.
"""

from collections.abc import Mapping
from typing import Any

from lcsd.release.case import CASE_COLUMNS
from lcsd.release.layout import CASES_NAME, CHECKSUMS_NAME, CLOUDS, METHODS_NAME, SCAN_NUMBER
from lcsd.settings.release import ReleaseSettings

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""Context that the standard prescribes."""

FILE_SETS = {
    "images": ("application/gzip", "CT on the common grid, HU, int16 NIfTI"),
    "labels": ("application/gzip", "lung vessels on the common grid, uint8 NIfTI"),
    "masks": ("application/gzip", "lungs on the common grid, uint8 NIfTI"),
    "clouds": ("application/octet-stream", "vessel clouds, LPS mm, NumPy .npz"),
    "correspondences": ("text/csv", "corresponding points of both scans, LPS mm"),
    "keypoints": ("text/csv", "the same correspondences in voxels, one table per scan"),
    "landmarks": ("text/csv", "landmarks of test cases, LPS mm and voxels"),
    "rigid": ("text/plain", "rigid transforms, common space to native follow-up, ITK text"),
    "viewer": ("application/xml", "vessel clouds as VTK PolyData, LPS mm"),
}
"""Format and content of each pair of folders."""

TEXT_COLUMNS = ("case", "split", "borderline")
INTEGER_COLUMNS = (*(f"{scan}_{kind}" for kind in CLOUDS for scan in SCAN_NUMBER), "correspondences", "landmarks")


def licence_url(licence: str) -> str:
    """Return the address of a licence's text."""
    if licence == "CC-BY-4.0":
        return "https://creativecommons.org/licenses/by/4.0/"
    return f"https://spdx.org/licenses/{licence}.html"


def _data_type(column: str) -> str:
    if column in TEXT_COLUMNS:
        return "sc:Text"
    return "sc:Integer" if column in INTEGER_COLUMNS else "sc:Float"


def _file(name: str, hashes: Mapping[str, str], encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": encoding,
        "sha256": hashes[name],
    }


def _file_set(kind: str) -> dict[str, Any]:
    encoding, description = FILE_SETS[kind]
    return {
        "@type": "cr:FileSet",
        "@id": kind,
        "name": kind,
        "description": description,
        "encodingFormat": encoding,
        "includes": f"{kind}T?/*",
    }


def croissant(
    hashes: Mapping[str, str], settings: ReleaseSettings, *, description: str, cite_as: str
) -> dict[str, Any]:
    """Return the content of ``croissant.json``; ``hashes`` are SHA-256 by path inside the release."""
    kinds = {name.split("/")[0][:-2] for name in hashes if "/" in name}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"cases/{column}",
            "name": column,
            "dataType": _data_type(column),
            "source": {"fileObject": {"@id": CASES_NAME}, "extract": {"column": column}},
        }
        for column in CASE_COLUMNS
    ]
    content: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": settings.name,
        "alternateName": settings.title,
        "description": description,
        "license": licence_url(settings.licence),
        "version": settings.version,
        "citeAs": cite_as,
        "keywords": ["lung CT", "point cloud", "image registration", "longitudinal"],
        "distribution": [
            _file(CASES_NAME, hashes, "text/tab-separated-values"),
            _file(METHODS_NAME, hashes, "application/json"),
            *(_file_set(kind) for kind in FILE_SETS if kind in kinds),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "cases",
                "name": "cases",
                "description": f"one row per pair of scans; files are listed in {CHECKSUMS_NAME}",
                "key": {"@id": "cases/case"},
                "field": fields,
            }
        ],
    }
    if settings.creators:
        content["creator"] = [{"@type": "sc:Organization", "name": n} for n in settings.creators]
    if settings.url:
        content["url"] = settings.url
    if settings.date:
        content["datePublished"] = settings.date
    return content
