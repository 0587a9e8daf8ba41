"""Inputs that were made to harm: to run code, to leave the folder, to take all memory."""

import gzip
import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import torch
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from lcsd.build.pairs import REQUIRED
from lcsd.io.images import write_image
from lcsd.io.points import PAIR_COLUMNS
from tests.faults.fault import Fault, Place
from tests.faults.scans import converted, hu, series
from tests.faults.stages import INSIDE, LATTICE, cloud
from tests.series import shifted
from tests.unit.importers.test_archives import archive

TERA = 10**12
LEVELS = 20_000


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.canary), "w")


def _registered(place: Place, name: str, content: bytes) -> list[str]:
    path = place.inputs / name
    path.write_bytes(content)
    return ["register", str(path), cloud(place, "other"), "--out-dir", str(place.out)]


def foreign(name: str, how: str, file: str, content: bytes, words: str = "") -> Fault:
    """Return a fault of a cloud in another program's format."""

    def make(place: Place) -> list[str]:
        return _registered(place, file, content)

    return Fault("register", name, "hostile", how, make, "bad_cloud_file", words)


def _array_header(*shape: int) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(24)


def _code_in_a_tensor(place: Place) -> list[str]:
    torch.save({"points": Harmful(place.canary)}, place.inputs / "a.pth")
    return _registered(place, "a.pth", (place.inputs / "a.pth").read_bytes())


def _code_in_clouds(place: Place) -> list[str]:
    folder = place.inputs / "cloudsTr" / "coordinates"
    folder.mkdir(parents=True)
    for number in "12":
        torch.save([Harmful(place.canary)] * 3, folder / f"case_001_{number}.pth")
    return ["import", "lung250m", str(place.inputs), str(place.out / "lung250m")]


def _task_leads_out(place: Place) -> list[str]:
    pair = {"fixed": "../secret_0001_0000.nii.gz", "moving": "./imagesTr/NLST_0001_0001.nii.gz"}
    content = json.dumps({"training_paired_images": [pair]})
    (place.inputs / "NLST_dataset.json").write_text(content, encoding="utf-8")
    return ["import", "learn2reg", str(place.inputs), str(place.out / "nlst")]


def _code_in_an_array(place: Place) -> list[str]:
    points = np.array([Harmful(place.canary)], dtype=object)
    np.savez(place.inputs / "dense.npz", points=points)
    return ["keypoints", str(place.inputs / "dense.npz"), str(place.out / "sparse.npz")]


def field_of(name: str, how: str, file: str, code: str, write: Callable[[Path, Place], None]) -> Fault:
    """Return a fault of a displacement field in an array or tensor."""

    def make(place: Place) -> list[str]:
        write_image(place.inputs / "fixed.nii.gz", hu(), dtype=np.int16)
        (place.inputs / "landmarks.csv").write_text(",".join(PAIR_COLUMNS) + "\n" + INSIDE)
        write(place.inputs / file, place)
        words = ["evaluate", "--landmarks", str(place.inputs / "landmarks.csv"), "--field-as", "voxel"]
        words += ["--grid", str(place.inputs / "fixed.nii.gz"), "--field", str(place.inputs / file)]
        return [*words, "--out", str(place.out / "tre.json")]

    return Fault("evaluate", name, "hostile", how, make, code, "", 2)


def _flow_with_code(path: Path, place: Place) -> None:
    torch.save({"flow": Harmful(place.canary)}, path)


def _array_with_code(path: Path, place: Place) -> None:
    np.savez(path, flow=np.array([Harmful(place.canary)], dtype=object))


def _flow_of_terabytes(path: Path, _: Place) -> None:
    path.write_bytes(_array_header(3, TERA, 8, 8))


def _npz(entry: bytes) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        with zipfile.ZipFile(place.inputs / "dense.npz", "w", zipfile.ZIP_DEFLATED) as content:
            content.writestr("points.npy", entry)
        return ["keypoints", str(place.inputs / "dense.npz"), str(place.out / "sparse.npz")]

    return make


def _encrypted(place: Place) -> list[str]:
    """Set the bit that says so in the member's header and in the directory."""
    words = _npz(_array_header(2, 3))(place)
    path = place.inputs / "dense.npz"
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return words


def _deep_header() -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {'-' * 9000}1}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _deep_metadata(place: Place) -> list[str]:
    np.savez(place.inputs / "dense.npz", points=LATTICE, meta=np.array("[" * LEVELS))
    return ["keypoints", str(place.inputs / "dense.npz"), str(place.out / "sparse.npz")]


def _nifti(*size: int, tail: int = 0) -> Callable[[Place], list[str]]:
    """Return the call on a NIfTI file that declares ``size``, with zeros behind its voxels."""

    def make(place: Place) -> list[str]:
        path = place.inputs / "ct.nii.gz"
        write_image(path, hu((24, 24, 24)), dtype=np.int16)
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[42:48] = np.array(size, "<i2").tobytes()
        with gzip.open(path, "wb", 1) as stream:
            stream.write(content)
            for _ in range(tail):
                stream.write(bytes(1 << 20))
        return converted(place, path)

    return make


def _nonsense(part: pydicom.Dataset, index: int) -> None:
    """Say JPEG 2000 and put other bytes there."""
    part.file_meta.TransferSyntaxUID = JPEG2000Lossless
    part.PixelData = encapsulate([bytes(range(256))])
    part["PixelData"].is_undefined_length = True


def _configured(text: str) -> Callable[[Place], list[str]]:
    """Return a call with a configuration; CANARY in the text is the canary's path."""

    def make(place: Place) -> list[str]:
        path = place.inputs / "my.yaml"
        path.write_text(text.replace("CANARY", str(place.canary)))
        return ["keypoints", cloud(place, "dense"), str(place.out / "s.npz"), "--config", str(path)]

    return make


def _set(value: str) -> Callable[[Place], list[str]]:
    return lambda place: [
        "keypoints",
        cloud(place, "dense"),
        str(place.out / "s.npz"),
        "--set",
        value.replace("CANARY", str(place.canary)),
    ]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
"""Nine lists of nine aliases: 9^10 values."""


def named(name: str, how: str, case: str) -> Fault:
    """Return a fault of a case's name in a manifest; CANARY in it is the canary's path."""

    def make(place: Place) -> list[str]:
        given = {
            "case": case.replace("CANARY", str(place.canary)),
            "patient_id": "p1",
            "role": "train",
            "fixed_source": "a.nii.gz",
            "moving_source": "b.nii.gz",
        }
        rows = ["\t".join(REQUIRED), "\t".join(f'"{given.get(name, "")}"' for name in REQUIRED)]
        (place.inputs / "pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (place.inputs / "results" / "cases").mkdir(parents=True)
        return ["release", str(place.inputs / "results"), str(place.out), "--manifest", str(place.inputs / "pairs.tsv")]

    return Fault("release", name, "hostile", how, make, "bad_manifest", "column case")


def zipped(name: str, how: str, entries: dict[str, bytes], kind: int = 0) -> Fault:
    """Return a fault of an archive of a published dataset."""

    def make(place: Place) -> list[str]:
        path = archive(place.inputs / "LCSD500.zip", entries, kind)
        return [
            "import",
            "lcsd500",
            str(path),
            str(place.out),
            "--fixed",
            "{case}_f.nii.gz",
            "--moving",
            "{case}_m.nii.gz",
            "--set",
            "max_gib=0.001",
        ]

    return Fault("import", name, "hostile", how, make, "unsafe_archive", "not safe")


def _uid(place: Place) -> list[str]:
    return ["fetch", "../1.2.3.4", "--out-dir", str(place.out)]


PLY = (
    f"ply\nformat ascii 1.0\nelement vertex {TERA}\nproperty float x\nproperty float y\n"
    "property float z\nend_header\n1 2 3\n"
).encode()
VTK = b"# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\n"
VTP = (
    '<?xml version="1.0"?>{entities}<VTKFile type="PolyData" version="0.1" '
    'byte_order="LittleEndian"><PolyData><Piece NumberOfPoints="{count}"><Points><DataArray '
    'type="Float32" NumberOfComponents="3" format="ascii">{data}</DataArray></Points></Piece>'
    "</PolyData></VTKFile>"
)
LAUGHS = "<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {after} '{f'&{before};' * 10}'>" for before, after in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
OUTSIDE = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>"


def hostile(command: str, name: str, how: str, make: Callable[[Place], list[str]], code: str, words: str = "") -> Fault:
    """Return a fault of an input that was made to harm."""
    return Fault(command, name, "hostile", how, make, code, words, 2 if code else 0)


def _template(place: Place) -> list[str]:
    """Snakemake would run this configuration; the command that looks at it first does not."""
    path = place.inputs / "my.yaml"
    run = f"os.system('touch {place.canary}')"
    path.write_text(f"__use_yte__: true\n__definitions__: [import os, {run}]\nmanifest: p.tsv\n")
    return ["doctor", "--config", str(path)]


TEMPLATE = Fault(
    "doctor",
    "config_runs_code",
    "hostile",
    "a template of YTE with code in a configuration",
    _template,
    "unknown_key",
    "__use_yte__",
    records=False,
)

HOSTILE = (
    TEMPLATE,
    named("case_leads_out", "a case named `../x`", "../x"),
    named("case_is_a_command", "a case named `$(touch FILE)`", "$(touch CANARY)"),
    named("case_ends_a_command", "a case named `a;touch FILE`", "a;touch CANARY"),
    named("case_of_two_lines", "a line break in a case's name", "a\nb"),
    named("case_is_an_option", "a case named `--rejected`", "--rejected"),
    named("case_is_a_wildcard", "a case named `{wildcards}`", "{wildcards}"),
    named("case_looks_alike", "a Cyrillic letter in a case's name", "c\u0430se"),
    named("case_is_long", "a case's name of 300 letters", "a" * 300),
    named("case_is_a_formula", "a case named `=1+1`", "=1+1"),
    hostile("fetch", "uid_leads_out", "a series UID `../1.2.3.4`", _uid, "bad_identifier", "correct it"),
    zipped("zip_leads_out", "an archive with an entry `../x_f.nii.gz`", {"../x_f.nii.gz": b"1"}),
    zipped("zip_link", "an archive with a link to `/etc/passwd`", {"x_f.nii.gz": b"/etc/passwd"}, stat.S_IFLNK | 0o777),
    zipped("zip_bomb", "an archive of 2 KB that unpacks to 2 MB, above the limit", {"x_f.nii.gz": bytes(2_000_000)}),
    hostile(
        "keypoints",
        "yaml_runs_code",
        "`!!python/object/apply` in a configuration",
        _configured("keypoints: !!python/object/apply:os.system ['touch CANARY']\n"),
        "bad_yaml",
    ),
    hostile(
        "keypoints",
        "set_runs_code",
        "`!!python/object/apply` in `--set`",
        _set("k=!!python/object/apply:os.system ['touch CANARY']"),
        "bad_value",
    ),
    hostile(
        "keypoints",
        "yaml_bomb",
        "10 lines of YAML aliases that stand for 9^10 values",
        _configured(BOMB + "keypoints: {k: *j}\n"),
        "bad_yaml",
        "values",
    ),
    hostile(
        "keypoints",
        "yaml_deep",
        f"{LEVELS} nested lists in a configuration",
        _configured("a: " + "[" * LEVELS),
        "bad_yaml",
        "levels",
    ),
    hostile(
        "keypoints", "json_deep", f"{LEVELS} nested lists in a cloud's metadata", _deep_metadata, "bad_json", "meta"
    ),
    hostile("keypoints", "pickle_in_npz", "a pickle in a cloud", _code_in_an_array, "truncated_file"),
    field_of("pickle_in_pt", "code in a tensor of a displacement field", "flow.pt", "needs_pickle", _flow_with_code),
    field_of(
        "pickle_in_array", "a pickle in an array of a displacement field", "flow.npz", "needs_pickle", _array_with_code
    ),
    field_of(
        "flow_terabytes",
        "a displacement field of 150 bytes that declares 768 TB",
        "flow.npy",
        "truncated_file",
        _flow_of_terabytes,
    ),
    hostile("register", "pickle_in_pth", "code in a file of tensors", _code_in_a_tensor, "bad_cloud_file"),
    replace(
        hostile(
            "import",
            "pickle_in_dataset",
            "code in the clouds of a dataset",
            _code_in_clouds,
            "bad_torch_file",
            "pickled code",
        ),
        chatty=True,
    ),
    hostile(
        "import",
        "task_leads_out",
        "a `dataset.json` with an image outside its folder",
        _task_leads_out,
        "bad_dataset",
        "inside its folder",
    ),
    hostile(
        "keypoints",
        "npz_terabytes",
        "a cloud of 300 bytes that declares 12 TB",
        _npz(_array_header(TERA, 3)),
        "truncated_file",
        "declares more",
    ),
    foreign("npy_terabytes", "an array of 150 bytes that declares 12 TB", "a.npy", _array_header(TERA, 3)),
    foreign("ply_terabytes", "a PLY file that declares 10^12 points", "a.ply", PLY, "declared"),
    foreign(
        "vtk_terabytes",
        "a legacy VTK file that declares 10^12 points",
        "a.vtk",
        VTK + f"POINTS {TERA} float\n1 2 3\n".encode(),
    ),
    foreign(
        "vtp_terabytes",
        "an XML VTK file that declares 10^12 points",
        "a.vtp",
        VTP.format(entities="", count=TERA, data="1 2 3").encode(),
        "declared",
    ),
    foreign(
        "xml_entities",
        "entities of XML that stand for 10^11 words",
        "a.vtp",
        VTP.format(entities=LAUGHS + "]>", count=1, data="&l;").encode(),
        "not an XML file of VTK",
    ),
    foreign(
        "xml_reads_files",
        "an entity of XML that is another file",
        "a.vtp",
        VTP.format(entities=OUTSIDE + "]>", count=1, data="&a;").encode(),
        "not an XML file of VTK",
    ),
    hostile(
        "convert",
        "nifti_terabytes",
        "a NIfTI file of 1 KB that declares 54 TB",
        _nifti(30_000, 30_000, 30_000),
        "too_large",
        "shape",
    ),
    hostile(
        "convert",
        "nifti_gigabytes",
        "a NIfTI file of 1 KB that declares 2 GB",
        _nifti(1000, 1000, 1000),
        "truncated_file",
        "too short",
    ),
    hostile(
        "convert",
        "nifti_tail",
        "a NIfTI file with 100 MB of zeros after its voxels, which change nothing",
        _nifti(24, 24, 24, tail=100),
        "",
    ),
    foreign(
        "ply_count_behind_zeros",
        "a PLY file that declares 10^12 points, with 25 leading zeros",
        "a.ply",
        PLY.replace(b"1000", b"0" * 25 + b"1000", 1),
        "declared",
    ),
    foreign(
        "vtp_count_behind_zeros",
        "an XML VTK file that declares 10^12 points, with 25 leading zeros",
        "a.vtp",
        VTP.format(entities="", count=f"{'0' * 25}{TERA}", data="1 2 3").encode(),
        "declared",
    ),
    hostile("keypoints", "npz_encrypted", "a cloud in an encrypted archive", _encrypted, "bad_cloud_file", "password"),
    hostile(
        "keypoints",
        "npz_deep_header",
        "a cloud whose header is nested 9000 levels deep",
        _npz(_deep_header()),
        "truncated_file",
        "header",
    ),
    hostile(
        "keypoints",
        "yaml_false_tag",
        "`!!bool maybe` in a configuration",
        _configured("keypoints: {k: !!bool maybe}\n"),
        "bad_yaml",
        "tag",
    ),
    hostile("keypoints", "set_false_tag", "`!!timestamp x` in `--set`", _set("k=!!timestamp x"), "bad_value"),
    hostile(
        "keypoints",
        "section_is_a_number",
        "a number in place of a section",
        _configured("keypoints: 0\n"),
        "bad_value",
        "mapping",
    ),
    series(
        "dicom_huge_matrix",
        "65535 rows declared",
        shifted("Rows", 65535, 3),
        "truncated_file",
        "bytes of pixels",
        "hostile",
    ),
    series("dicom_nonsense", "other bytes where JPEG 2000 is declared", _nonsense, "truncated_file", "", "hostile"),
)
