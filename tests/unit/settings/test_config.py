"""The configuration: unknown keys, bad values and contradictions name key and remedy."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from lcsd.cli.config import commented_yaml, json_schema
from lcsd.cli.main import main
from lcsd.config import Config, load_section, override, read_sections, read_yaml, validate
from lcsd.errors import BadInputError
from lcsd.settings.keypoints import KeypointsSettings
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.release import ReleaseSettings
from lcsd.settings.vessels import VesselsSettings

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "workflow" / "config").glob("*.yaml"))


def failure(content: dict[str, object]) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        validate(Config, {"manifest": "pairs.tsv", **content}, file=Path("my.yaml"))
    assert "\n" not in caught.value.message
    return caught.value


def test_default_file_is_what_the_models_say() -> None:
    shipped = (ROOT / "workflow" / "config" / "default.yaml").read_text()
    assert shipped == commented_yaml(), "run: lcsd config > workflow/config/default.yaml"


def test_default_file_holds_the_defaults_of_every_key() -> None:
    content = yaml.safe_load(commented_yaml())
    assert validate(Config, content | {"manifest": "x"}) == Config(manifest=Path("x"))
    sections = [k for k, v in content.items() if isinstance(v, dict)]
    for name in sections:
        assert set(content[name]) == set(Config.model_fields[name].annotation.model_fields)  # type: ignore[union-attr]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    content = {name: value for name, value in read_yaml(path).items() if value is not None}
    named = content if "candidates" in content else {"manifest": "pairs.tsv", **content}
    validate(Config, named, file=path)


def test_a_build_whose_fields_do_not_fit_in_memory_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"workflow\.field_mm: .*\[field_too_large\]"):
        validate(Config, {"manifest": "pairs.tsv", "workflow": {"field_mm": 0.05}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../evil"),
        ("name", "a/b"),
        ("name", "lcsd "),
        ("version", "v1.0.0"),
        ("version", "1.0.0-../x"),
        ("licence", "CC BY"),
        ("licence", "MIT/../x"),
        ("url", "see https://example.org"),
        ("url", "https://example.org and more"),
        ("date", "on 2024-01-02"),
        ("date", "2024-01-023"),
        ("date", "2024-02-30"),
    ],
)
def test_patterns_hold_for_the_whole_value(key: str, value: str) -> None:
    """A dataset's name is the folder that its archive is unpacked to."""
    error = failure({"release": {key: value}})
    assert error.code == "bad_value"
    assert f"release.{key}" in error.message


def test_dates_of_yaml_are_texts_and_of_the_calendar(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("release:\n  date: 2024-01-02\n")
    settings = load_section("release", ReleaseSettings, path)
    assert settings.date == "2024-01-02"
    assert override(settings, ["date=2025-03-04"], section="release").date == "2025-03-04"
    path.write_text("release:\n  date: 2024-13-45\n")
    with pytest.raises(BadInputError, match="bad_yaml"):
        load_section("release", ReleaseSettings, path)
    with pytest.raises(BadInputError, match="bad_value"):
        override(settings, ["date=2024-13-45"], section="release")


def test_every_option_says_what_it_is() -> None:
    for section in Config.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        for name, field in fields.items():
            assert field.description, name


def test_unknown_key_names_key_and_the_known_ones() -> None:
    error = failure({"keypoints": {"sigma": 1}})
    assert error.field == "keypoints.sigma"
    assert "sigma_start" in str(error.expected)
    assert (error.code, error.exit_code) == ("unknown_key", 2)
    assert failure({"keypoint": {}}).field == "keypoint"
    missing = failure({"register": {"levels": [{}]}})
    assert (missing.code, missing.field) == ("missing_key", "register.levels.0.raster_mm")


def test_wrong_type_range_and_contradiction() -> None:
    assert failure({"keypoints": {"k": "many"}}).field == "keypoints.k"
    error = failure({"keypoints": {"sigma_step": -0.1}})
    assert "1/voxel" in error.message
    assert "-0.1" in error.message
    assert "lower j or raise k" in failure({"keypoints": {"k": 5, "j": 9}}).message
    assert "nan" in failure({"keypoints": {"sigma_step": float("nan")}}).message


def test_missing_manifest_is_named() -> None:
    with pytest.raises(BadInputError, match="manifest"):
        validate(Config, {})


def test_yaml_errors_and_sections(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("keypoints: {k: 30}\n")
    assert load_section("keypoints", KeypointsSettings, path).k == 30
    path.write_text("a: [1\n")
    with pytest.raises(BadInputError, match=r"\[bad_yaml\]"):
        read_yaml(path)
    path.write_text("- 1\n")
    with pytest.raises(BadInputError, match=r"\[bad_yaml\]"):
        read_yaml(path)


@pytest.mark.parametrize("value", ["5", "0", "[1, 2]", "[]", "abc", "''", "false"])
def test_a_section_is_a_mapping_or_empty(tmp_path: Path, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"keypoints: {value}\n")
    with pytest.raises(BadInputError, match=r"keypoints: .*\[bad_value\]"):
        load_section("keypoints", KeypointsSettings, path)
    path.write_text("keypoints:\n")
    assert load_section("keypoints", KeypointsSettings, path) == KeypointsSettings()


@pytest.mark.parametrize(
    "value",
    ["!!bool maybe", "!!timestamp foo", '!!int ""', '!!float ""', "1" + ":1" * 400 + ".5"],
    ids=["bool", "timestamp", "int", "float", "base_60"],
)
def test_values_that_do_not_fit_their_tag_are_no_yaml(tmp_path: Path, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"keypoints: {{k: {value}}}\n")
    with pytest.raises(BadInputError, match=r"\[bad_yaml\]"):
        read_yaml(path)
    with pytest.raises(BadInputError, match="bad_value"):
        override(KeypointsSettings(), [f"k={value}"], section="keypoints")


@pytest.mark.slow
def test_yaml_is_bounded_before_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    aliases = "a: &a [1, 2]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    path.write_text(aliases)
    assert read_yaml(path)["c"] == [[[1, 2], [1, 2]]] * 2
    for text in (
        "a: " + "[" * 21 + "]" * 21,
        "# " + "x" * (1 << 20) + "\na: 1\n",
        "a: [" + "1," * 100_001 + "]",
        "a: &a [" + "1," * 400 + "]\nb: &b [" + "*a," * 400 + "]\n",
    ):
        path.write_text(text)
        with pytest.raises(BadInputError, match=r"\[bad_yaml\]"):
            read_yaml(path)
    path.write_text("a: &a {b: *a}\n")
    assert list(read_yaml(path)) == ["a"]


def test_override_reads_yaml_values() -> None:
    changed = override(KeypointsSettings(), ["k=31", "on_shortage=error"], section="keypoints")
    assert (changed.k, changed.on_shortage) == (31, "error")
    with pytest.raises(BadInputError, match=r"\[bad_value\]"):
        override(KeypointsSettings(), ["k"], section="keypoints")
    for broken in ("k=[", "k=a: b: c"):
        with pytest.raises(BadInputError, match=r"--set k: .*\[bad_value\]"):
            override(KeypointsSettings(), [broken], section="keypoints")
    with pytest.raises(BadInputError, match=r"\[unknown_key\]"):
        override(KeypointsSettings(), ["k.x=3"], section="keypoints")
    with pytest.raises(BadInputError, match="keypoints.kk"):
        override(KeypointsSettings(), ["kk=3"], section="keypoints")


def test_sections_of_other_stages(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("keypoints: {k: 30}\nlungs: {closing_mm: 3}\n")
    assigned = ["lungs.min_lung_ml = 7", "j=3", "lungs=5"]
    also = {"lungs": LungsSettings}
    own, others = read_sections("keypoints", KeypointsSettings, also, path, assigned[:2])
    assert (own.k, own.j) == (30, 3)
    assert others == {"lungs": LungsSettings(closing_mm=3, min_lung_ml=7)}
    with pytest.raises(BadInputError, match=r"keypoints.lungs: unknown key"):
        read_sections("keypoints", KeypointsSettings, also, path, assigned)
    with pytest.raises(BadInputError, match=r"keypoints.cloud.x: unknown key"):
        read_sections("keypoints", KeypointsSettings, also, path, ["cloud.x=1"])


def test_assignments_win_over_documents_and_these_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("keypoints: {k: 30, j: 3, min_points: 5}\nlungs: {closing_mm: 3}\n")
    documents = ['{"k": 31, "j": 4, "lungs": {"min_lung_ml": 7e-3}}', '{"j": 5, "lungs.closing_mm": 4}']
    also = {"lungs": LungsSettings}
    own, others = read_sections("keypoints", KeypointsSettings, also, path, ["k=32"], documents=documents)
    assert (own.k, own.j, own.min_points) == (32, 5, 5)
    assert others == {"lungs": LungsSettings(closing_mm=4, min_lung_ml=0.007)}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{", "--settings: .*[bad_value]"),
        ("[1]", "--settings: .*[bad_value]"),
        ("[" * 100_000, "--settings: .*[bad_value]"),
        ('{"colour": 1}', "keypoints.colour: .*[unknown_key]"),
        ('{"k": "many"}', "keypoints.k: .*[bad_value]"),
        ('{"k": [1]}', "keypoints.k: .*[bad_value]"),
        ('{"sigma_step": NaN}', "keypoints.sigma_step: .*[bad_value]"),
        ('{"lungs": 5}', "keypoints.lungs: .*[unknown_key]"),
        ('{"lungs": {"k": 5}}', "lungs.k: .*[unknown_key]"),
    ],
)
def test_documents_that_are_no_settings_are_refused(document: str, expected: str) -> None:
    pattern = expected.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(BadInputError, match=pattern) as caught:
        read_sections("keypoints", KeypointsSettings, {"lungs": LungsSettings}, None, documents=[document])
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("name", ["config", "pairs"])
def test_shipped_schemas_are_what_the_models_say(name: str) -> None:
    shipped = (ROOT / "workflow" / "schemas" / f"{name}.schema.json").read_text()
    assert shipped == json_schema(name), "run: lcsd config --schema NAME > workflow/schemas/..."


def test_config_command_prints_the_default() -> None:
    assert CliRunner().invoke(main, ["config"]).output == commented_yaml()


def test_override_reaches_into_sections() -> None:
    changed = override(
        VesselsSettings(), ["objectness.margin_mm=1", "objectness.min_hu=90", "backend=objectness"], section="vessels"
    )
    assert (changed.objectness.margin_mm, changed.objectness.min_hu) == (1.0, 90.0)
    assert changed.objectness.max_share == VesselsSettings().objectness.max_share
    whole = override(VesselsSettings(), ['objectness={"margin_mm": 2}'], section="vessels")
    assert whole.objectness.margin_mm == 2
    with pytest.raises(BadInputError, match=r"vessels\.objectness\.colour: unknown key.*margin_mm"):
        override(VesselsSettings(), ["objectness.colour=1"], section="vessels")
    with pytest.raises(BadInputError, match=r"vessels\.backend\.x: unknown key"):
        override(VesselsSettings(), ["backend.x=1"], section="vessels")


def test_inner_sections_are_described_in_the_default_file() -> None:
    text = commented_yaml()
    assert "  objectness:\n    # Gaussian sigmas" in text
    assert "    task: lung_vessels_LEGACY\n" in text
