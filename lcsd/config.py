"""The configuration: one typed source, validated, with an error that names key and remedy."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from lcsd.errors import BadInputError
from lcsd.io.field_size import check_field_size
from lcsd.io.files import require_file
from lcsd.names import check_path
from lcsd.settings.base import Settings
from lcsd.settings.cloud import CloudSettings
from lcsd.settings.cohort import CohortSettings
from lcsd.settings.compare import CompareSettings
from lcsd.settings.convert import ConvertSettings
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.estimate import EstimateSettings
from lcsd.settings.evaluate import EvaluateSettings
from lcsd.settings.fetch import FetchSettings
from lcsd.settings.gates import GatesSettings
from lcsd.settings.keypoints import KeypointsSettings
from lcsd.settings.landmarks import LandmarksSettings
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.phantom import PhantomSettings
from lcsd.settings.prealign import PrealignSettings
from lcsd.settings.register import RegisterSettings
from lcsd.settings.release import ReleaseSettings
from lcsd.settings.report import ReportSettings
from lcsd.settings.screen import ScreenSettings
from lcsd.settings.select import SelectSettings
from lcsd.settings.train import TrainSettings
from lcsd.settings.vessels import VesselsSettings
from lcsd.settings.workflow import WorkflowSettings

S = TypeVar("S", bound=Settings)

YAML_MOST_CHARACTERS = 1 << 20
YAML_MOST_LEVELS = 20
YAML_MOST_VALUES = 100_000
"""Limits of a configuration. The default one has 20 thousand characters, 4 levels and a few hundred values; nine lines
of nested aliases could expand to billions of values."""

SHOWN_CHARACTERS = 80
"""Longest JSON text that an error shows in full."""

# A section has the name of its command; 'register' is also a method of every abstract class, which nobody calls on a
# configuration.
warnings.filterwarnings("ignore", message='Field name "register" in "Config" shadows')


class Config(Settings):
    """All settings of a build; a section per stage."""

    manifest: Path | None = Field(
        None, description="pairs manifest (.tsv) with the cases; relative to the working folder"
    )
    candidates: Path | None = Field(
        None, description="candidates.tsv of a cohort, from which cases are selected; replaces manifest"
    )
    results: Path = Field(Path("results"), description="folder of the build")
    workflow: WorkflowSettings = Field(default_factory=WorkflowSettings)
    cohort: CohortSettings = Field(default_factory=CohortSettings)
    fetch: FetchSettings = Field(default_factory=FetchSettings)
    screen: ScreenSettings = Field(default_factory=ScreenSettings)
    select: SelectSettings = Field(default_factory=SelectSettings)
    convert: ConvertSettings = Field(default_factory=ConvertSettings)
    lungs: LungsSettings = Field(default_factory=LungsSettings)
    prealign: PrealignSettings = Field(default_factory=PrealignSettings)
    vessels: VesselsSettings = Field(default_factory=VesselsSettings)
    gates: GatesSettings = Field(default_factory=GatesSettings)
    cloud: CloudSettings = Field(default_factory=CloudSettings)
    keypoints: KeypointsSettings = Field(default_factory=KeypointsSettings)
    correspond: CorrespondSettings = Field(default_factory=CorrespondSettings)
    register: RegisterSettings = Field(default_factory=RegisterSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    landmarks: LandmarksSettings = Field(default_factory=LandmarksSettings)
    compare: CompareSettings = Field(default_factory=CompareSettings)
    release: ReleaseSettings = Field(default_factory=ReleaseSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    phantom: PhantomSettings = Field(default_factory=PhantomSettings)
    estimate: EstimateSettings = Field(default_factory=EstimateSettings)

    @field_validator("manifest", "candidates", "results")
    @classmethod
    def _plain_path(cls, path: Path | None) -> Path | None:
        return check_path(path)

    @model_validator(mode="after")
    def _cases_from_one_table(self) -> "Config":
        if self.manifest is None and self.candidates is None:
            raise ValueError(
                "no manifest is named, by --manifest or in the configuration; lcsd init DIR writes both files"
            )
        if self.manifest is not None and self.candidates is not None:
            raise ValueError("manifest and candidates are both named; leave one out")
        return self

    @model_validator(mode="after")
    def _fields_fit_in_memory(self) -> "Config":
        extent_mm = [count * self.prealign.spacing_mm for count in self.prealign.size]
        check_field_size(extent_mm, self.workflow.field_mm, field="workflow.field_mm")
        return self


def _explain(error: ValidationError, model: type[Settings], where: str, file: Path | None) -> NoReturn:
    """Raise the first problem of a pydantic error with its key and a remedy."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join([where, *path] if where else path)
    if first["type"] == "extra_forbidden":
        raise BadInputError(
            "unknown key",
            code="unknown_key",
            file=file,
            field=key,
            expected=f"one of {', '.join(_keys_at(model, path[:-1]))}",
            remedy="remove it or correct its spelling",
        ) from error
    if first["type"] == "missing":
        raise BadInputError("key is missing", code="missing_key", file=file, field=key, remedy="add it") from error
    described = _description(model, path)
    raise BadInputError(
        first["msg"].removeprefix("Value error, "),
        code="bad_value",
        file=file,
        field=key or None,
        expected=described,
        found=None if isinstance(first["input"], Mapping | Settings) else repr(first["input"]),
        remedy="correct the value",
    ) from error


def _model_at(model: type[Settings], path: Sequence[str]) -> type[Settings]:
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, Settings):
            model = inner
    return model


def _keys_at(model: type[Settings], path: Sequence[str]) -> list[str]:
    return sorted(_model_at(model, path).model_fields)


def _description(model: type[Settings], path: Sequence[str]) -> str | None:
    """Return the description (with unit) of the deepest named field on the path."""
    found = None
    for depth, part in enumerate(path):
        holder = _model_at(model, path[:depth])
        if part in holder.model_fields:
            found = holder.model_fields[part].description
    return found


def validate(model: type[S], content: object, *, where: str = "", file: Path | None = None) -> S:
    """Return ``content`` as validated settings.

    Raises ``BadInputError`` with key and remedy if it is no mapping, or has an unknown key, a wrong type or
    contradictory values.
    """
    if not isinstance(content, Mapping):
        raise BadInputError(
            "the section is not a mapping",
            code="bad_value",
            file=file,
            field=where,
            expected="key: value lines",
            found=type(content).__name__,
            remedy="correct the section",
        )
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        _explain(error, model, where, file)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text; nothing in it is executed.

    Raises ``yaml.YAMLError`` or ``ValueError`` if it is not YAML, has a tag that creates a Python object or does not
    fit its value, is too long or nested too deeply, or becomes too large by its aliases.
    """
    if len(text) > YAML_MOST_CHARACTERS:
        raise ValueError(f"longer than {YAML_MOST_CHARACTERS} characters")
    _check_extent(text)
    try:
        return yaml.safe_load(text)
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # What PyYAML raises for '!!bool maybe', '!!timestamp x' or '!!int ""'.
        raise ValueError("a value does not fit its tag") from error


def _check_extent(text: str) -> None:
    """Count values, with all aliases expanded, and levels, without building any of them."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        # An alias inside the value that it names has no size yet; the models refuse it.
        total += sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
        if len(open_) > YAML_MOST_LEVELS or total > YAML_MOST_VALUES:
            raise ValueError(f"more than {YAML_MOST_LEVELS} levels or {YAML_MOST_VALUES} values")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file."""
    try:
        content = parse_yaml(require_file(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # such as the date 2024-13-45
        raise BadInputError(
            f"not valid YAML ({error})", code="bad_yaml", file=path, remedy="correct the syntax"
        ) from error
    if not isinstance(content, dict):
        raise BadInputError(
            "configuration is not a mapping",
            code="bad_yaml",
            file=path,
            expected="key: value lines",
            found=type(content).__name__,
        )
    return content


def read_config(file: Path) -> Config:
    """Return the configuration in a YAML file."""
    return validate(Config, read_yaml(file), file=file)


def load_section(name: str, model: type[S], file: Path | None) -> S:
    """Return the settings of one section of a configuration file, or its defaults."""
    if file is None:
        return model()
    section = read_yaml(file).get(name)
    return model() if section is None else validate(model, section, where=name, file=file)


def override(settings: S, assignments: Sequence[str], *, section: str) -> S:
    """Return settings changed by assignments ``KEY=VALUE``; values are YAML, ``inner.key`` reaches into a section."""
    return _changed(settings, [_parse_assignment(text) for text in assignments], section=section)


def read_sections(
    name: str,
    model: type[S],
    also: Mapping[str, type[Settings]],
    file: Path | None,
    assignments: Sequence[str] = (),
    *,
    documents: Sequence[str] = (),
) -> tuple[S, dict[str, Settings]]:
    """Return a command's own section and the sections of other stages that it spans.

    Later sources win: defaults, ``file``, JSON ``documents`` (``--settings``), ``assignments`` (``--set``). A document
    has the command's own keys, and a mapping for each section of ``also``; an assignment names these
    ``SECTION.KEY=VALUE``.
    """
    changes: dict[str, list[tuple[str, Any]]] = {section: [] for section in (name, *also)}
    for key, value in [pair for text in documents for pair in _parse_document(text, also)] + [
        _parse_assignment(text) for text in assignments
    ]:
        section, _, rest = key.partition(".")
        if rest and section in also:
            changes[section].append((rest, value))
        else:
            changes[name].append((key, value))
    own = _changed(load_section(name, model, file), changes[name], section=name)
    others = {
        section: _changed(load_section(section, kind, file), changes[section], section=section)
        for section, kind in also.items()
    }
    return own, others


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign:
        raise BadInputError("not an assignment", code="bad_value", field="--set", expected="KEY=VALUE", found=text)
    try:
        return key, parse_yaml(value)
    except (yaml.YAMLError, ValueError) as error:  # such as the date 2024-13-45
        raise BadInputError(
            "not a YAML value",
            code="bad_value",
            field=f"--set {key}",
            expected="e.g. 3, [1, 2] or text",
            found=value,
            remedy="correct the value",
        ) from error


def _parse_document(text: str, also: Mapping[str, type[Settings]]) -> list[tuple[str, Any]]:
    """Return the keys and values of a JSON object; those in a section of ``also`` become ``SECTION.KEY``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadInputError(
            "not a JSON object",
            code="bad_value",
            field="--settings",
            expected='{"KEY": VALUE, ...}',
            found=text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...",
            remedy="correct the JSON, or use --set KEY=VALUE",
        )
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        inner = key in also and isinstance(value, dict)
        pairs += [(f"{key}.{name}", part) for name, part in value.items()] if inner else [(key, value)]
    return pairs


def _changed(settings: S, changes: Sequence[tuple[str, Any]], *, section: str) -> S:
    content = settings.model_dump()
    for key, value in changes:
        holder, name = _holder(content, key)
        holder[name] = value
    return validate(type(settings), content, where=section)


def _holder(content: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that holds a key and the key's name there; dots lead into sections."""
    outer, dot, inner = key.partition(".")
    if dot and isinstance(content.get(outer), dict):
        return _holder(content[outer], inner)
    return content, key
