"""``croissant.json``: a description of the release for search engines and loaders.

MLCommons Croissant 1.1 (http://mlcommons.org/croissant/1.1), JSON-LD on schema.org.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lcsd.release.layout import CASE_COLUMNS, CASES_NAME, CHECKSUMS_NAME, METHODS_NAME, PARQUET
from lcsd.release.parquet import CLOUD_COLUMNS, PAIR_COLUMNS
from lcsd.settings.release import ReleaseSettings

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "containedIn": "cr:containedIn",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
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

DATA_TYPES = {str: "sc:Text", int: "sc:Integer", float: "sc:Float"}


PARQUET_TYPE = "application/x-parquet"

RECORDS = {
    "clouds": (CLOUD_COLUMNS, "one row per cloud: points in LPS mm, radius of the vessel in mm"),
    "correspondences": (PAIR_COLUMNS, "one row per pair of scans: corresponding points in LPS mm"),
    "landmarks": (PAIR_COLUMNS, "one row per test case: landmarks in LPS mm"),
}
"""Columns and content of the Parquet tables that hold arrays."""


def licence_url(licence: str) -> str:
    """Return the address of a licence's text."""
    if licence == "CC-BY-4.0":
        return "https://creativecommons.org/licenses/by/4.0/"
    return f"https://spdx.org/licenses/{licence}.html"


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
        "@id": f"{kind}-files",
        "name": kind,
        "description": description,
        "encodingFormat": encoding,
        "includes": f"{kind}T?/*",
    }


def _table_files(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{table}-parquet",
        "name": f"{table}-parquet",
        "description": f"{RECORDS[table][1]}, as Parquet",
        "encodingFormat": PARQUET_TYPE,
        "includes": f"{PARQUET}/{table}/*/*.parquet",
    }


def _described(kind: pa.DataType) -> dict[str, Any]:
    """Return the data type of a column, and the shape of its arrays; -1 is any length."""
    shape = []
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        shape.append(str(kind.list_size if pa.types.is_fixed_size_list(kind) else -1))
        kind = kind.value_type
    plain = str if pa.types.is_string(kind) else int if pa.types.is_integer(kind) else float
    return {"dataType": DATA_TYPES[plain]} | ({"isArray": True, "arrayShape": ",".join(shape)} if shape else {})


def _records(table: str) -> dict[str, Any]:
    """Return the record set of a Parquet table."""
    columns, description = RECORDS[table]
    fields = []
    for name, kind in columns.items():
        source = {"fileSet": {"@id": f"{table}-parquet"}, "extract": {"column": name}}
        field = {"@type": "cr:Field", "@id": f"{table}/{name}", "name": name, **_described(kind), "source": source}
        if name == "case":
            field["references"] = {"field": {"@id": "cases/case"}}
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": table, "name": table, "description": description, "field": fields}


def croissant(
    hashes: Mapping[str, str], settings: ReleaseSettings, *, description: str, cite_as: str
) -> dict[str, Any]:
    """Return the content of ``croissant.json``; ``hashes`` are SHA-256 by path inside the release."""
    kinds = {name.split("/")[0][:-2] for name in hashes if "/" in name}
    tables = [table for table in RECORDS if any(name.startswith(f"{PARQUET}/{table}/") for name in hashes)]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"cases/{column}",
            "name": column,
            "dataType": DATA_TYPES[kind],
            "source": {"fileObject": {"@id": CASES_NAME}, "extract": {"column": column}},
        }
        for column, kind in CASE_COLUMNS.items()
    ]
    content: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
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
            *map(_table_files, tables),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "cases",
                "name": "cases",
                "description": f"one row per pair of scans; files are listed in {CHECKSUMS_NAME}",
                "key": {"@id": "cases/case"},
                "field": fields,
            },
            *map(_records, tables),
        ],
    }
    if settings.creators:
        content["creator"] = [{"@type": "sc:Organization", "name": n} for n in settings.creators]
    if settings.url:
        content["url"] = settings.url
    if settings.date:
        content["datePublished"] = settings.date
    return content
