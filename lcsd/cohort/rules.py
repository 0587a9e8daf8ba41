"""Choose one pair of series per patient: apply rules in a fixed order, rank pairs, count the funnel.

Every series gets the number of the first rule that it breaks. A time point counts with its best series, and a patient
with the worse of its two time points, so the funnel and the reasons for rejection always agree.
"""

from dataclasses import dataclass

from lcsd.cohort.index import Connection, first_row
from lcsd.settings.cohort import CohortSettings


@dataclass(frozen=True)
class Rule:
    """One step of the funnel."""

    number: int  # position in the order, from 1; also the value of ``broken`` for series that break it
    step: str  # name of the step: what is kept
    code: str  # reason code of patients rejected here
    text: str  # the requirement, with the setting's value
    applied: bool = True  # False if a setting or a missing file disables the rule


def rules(settings: CohortSettings) -> list[Rule]:
    """Return all rules in order, with the values of the settings."""
    spacing_known = settings.volume_geometry_index is not None
    tilt = f"gantry tilted by <= {settings.max_gantry_tilt_deg:g} degrees or unknown"
    segmented, required = "the IDC holds a segmentation of the series", settings.published_segmentation == "require"
    table = [
        ("two_time_points", "missing_time_point", f"CT at {settings.fixed_time} and {settings.moving_time}", True),
        ("readable_description", "unreadable_description", "series description says kind and maker", True),
        ("original_axial", "not_original_axial", f"kind is {' or '.join(settings.kinds)}", True),
        ("soft_kernel", "no_soft_kernel", "soft kernel of its maker", settings.other_kernels == "refuse"),
        ("thickness_known", "thickness_unknown", "slice thickness is known", True),
        ("thin_slices", "slice_too_thick", f"slice thickness <= {settings.max_thickness_mm:g} mm", True),
        ("enough_slices", "too_few_slices", f">= {settings.min_slices} slices", True),
        ("regular_spacing", "irregular_spacing", "slices known to be regularly spaced", spacing_known),
        ("straight_gantry", "tilted_gantry", tilt, settings.ct_index is not None),
        ("published_segmentation", "no_published_segmentation", segmented, required),
    ]
    return [Rule(number, *row) for number, row in enumerate(table, 1)]


# The numbers are those of ``rules``; $passed, one more than the last, means that none is broken.
_JUDGED = """
CREATE TABLE judged AS
SELECT s.*, coalesce(k.family, 'other') AS family, coalesce(k.rank, $rank_of_others) AS rank,
    CASE time WHEN $fixed THEN 'fixed' WHEN $moving THEN 'moving' END AS role,
    CASE
        WHEN kind IS NULL OR s.maker IS NULL THEN 2
        WHEN NOT list_contains($kinds, kind) THEN 3
        WHEN $soft_only AND coalesce(k.family, 'other') <> 'soft' THEN 4
        WHEN thickness_mm IS NULL THEN 5
        WHEN thickness_mm > $thickness THEN 6
        WHEN coalesce(slices, 0) < $slices THEN 7
        WHEN $check_spacing AND NOT coalesce(regular, false) THEN 8
        WHEN $check_tilt AND coalesce(tilt_deg, 0) > $tilt THEN 9
        WHEN $check_segmentation AND segmentation IS NULL THEN 10
        ELSE $passed END AS broken
FROM series s LEFT JOIN kernels k ON s.maker = k.maker AND upper(s.kernel) = upper(k.kernel)
WHERE patient IS NOT NULL
"""

_PATIENTS = """
CREATE TABLE patients AS
SELECT patient, coalesce(max(broken) FILTER (role = 'fixed'), 1) AS fixed_broken,
    coalesce(max(broken) FILTER (role = 'moving'), 1) AS moving_broken,
    least(fixed_broken, moving_broken) AS broken
FROM judged GROUP BY patient
"""

# The order of preference: same maker, same family of kernels, soft before sharp before other, same kernel, kernels
# listed first in the settings, equal thickness, thin slices, many slices. Identifiers break the remaining ties.
_PAIRS = """
CREATE TABLE pairs AS
SELECT f AS fixed, m AS moving, f.patient AS patient,
    f.maker = m.maker AS same_maker, f.family = m.family AS same_family
FROM (SELECT * FROM judged WHERE role = 'fixed' AND broken = $passed) f
JOIN (SELECT * FROM judged WHERE role = 'moving' AND broken = $passed) m ON f.patient = m.patient
QUALIFY row_number() OVER (PARTITION BY f.patient ORDER BY
    f.maker <> m.maker,
    f.family <> m.family,
    (f.rank // 1000) + (m.rank // 1000),
    upper(coalesce(f.kernel, '')) <> upper(coalesce(m.kernel, '')),
    f.rank + m.rank,
    round(abs(f.thickness_mm - m.thickness_mm), 3),
    round(f.thickness_mm + m.thickness_mm, 3),
    f.slices + m.slices DESC,
    f.uid, m.uid) = 1
"""

_REJECTED = """
CREATE TABLE rejected AS
SELECT p.patient AS patient_id, $codes[p.broken] AS reason,
    concat_ws(',', CASE WHEN fixed_broken = p.broken THEN $fixed_name END,
        CASE WHEN moving_broken = p.broken THEN $moving_name END) AS time_points,
    coalesce(found, 'nothing') AS found
FROM patients p LEFT JOIN (
    SELECT j.patient, string_agg(coalesce(description, 'no description')
        || ' (' || coalesce(slices, 0) || ' images)', '; ' ORDER BY time, description, slices, uid)
        AS found
    FROM judged j JOIN patients q ON j.patient = q.patient
    WHERE j.broken = q.broken AND (j.role = 'fixed' AND q.fixed_broken = q.broken
        OR j.role = 'moving' AND q.moving_broken = q.broken)
    GROUP BY j.patient
) USING (patient)
WHERE p.broken < $passed
UNION ALL
SELECT id, 'not_in_index', NULL, 'nothing' FROM own_patients
WHERE id NOT IN (SELECT patient FROM judged)
"""

RANK_STEP = 1000  # distance between the ranks of soft, sharp and other kernels; no table is that long


def kernel_rows(settings: CohortSettings) -> list[tuple[str, str, str, int]]:
    """Return maker, kernel, family and rank of every kernel in the settings."""
    return [
        (maker, name, family, RANK_STEP * place + row)
        for place, (family, table) in enumerate((("soft", settings.soft_kernels), ("sharp", settings.sharp_kernels)))
        for maker, names in table.items()
        for row, name in enumerate(dict.fromkeys(names))
    ]


def judge(connection: Connection, settings: CohortSettings) -> None:
    """Create the tables ``judged`` (series), ``patients``, ``pairs`` and ``rejected`` from ``series``.

    ``pairs`` has one row per patient who breaks no rule, with the rows of both series as the structs
    ``fixed`` and ``moving``. ``rejected`` has one row for every other patient, with the first broken rule
    and the series that reached it.
    """
    connection.execute("CREATE TABLE kernels (maker VARCHAR, kernel VARCHAR, family VARCHAR, rank INTEGER)")
    columns = [list(column) for column in zip(*kernel_rows(settings), strict=True)] or [[]] * 4
    connection.execute("INSERT INTO kernels SELECT unnest($1), unnest($2), unnest($3), unnest($4)", columns)
    passed = len(rules(settings)) + 1
    every = {rule.code: rule for rule in rules(settings)}
    connection.execute(
        _JUDGED,
        {
            "passed": passed,
            "rank_of_others": 2 * RANK_STEP,
            "fixed": int(settings.fixed_time[1]),
            "moving": int(settings.moving_time[1]),
            "kinds": [kind.upper() for kind in settings.kinds],
            "soft_only": every["no_soft_kernel"].applied,
            "thickness": settings.max_thickness_mm,
            "slices": settings.min_slices,
            "check_spacing": every["irregular_spacing"].applied,
            "check_tilt": every["tilted_gantry"].applied,
            "check_segmentation": every["no_published_segmentation"].applied,
            "tilt": settings.max_gantry_tilt_deg,
        },
    )
    connection.execute(_PATIENTS)
    connection.execute(_PAIRS, {"passed": passed})
    connection.execute(
        _REJECTED,
        {
            "passed": passed,
            "codes": [rule.code for rule in rules(settings)],
            "fixed_name": settings.fixed_time,
            "moving_name": settings.moving_time,
        },
    )


@dataclass(frozen=True)
class Step:
    """One row of the funnel: the requirement (``text``) and how many patients and series are left."""

    name: str
    reason: str  # code of patients rejected here, or empty
    text: str
    patients: int
    series: int


def funnel(connection: Connection, settings: CohortSettings) -> list[Step]:
    """Return the funnel: all CT, every applied rule, the candidates and the samples.

    The series of a rule are those of the remaining patients at the two time points that pass it and all
    rules before it.
    """

    def count(query: str, *values: object) -> tuple[int, int]:
        row = first_row(connection, query, list(values))
        return (int(row[0]), int(row[1])) if row else (0, 0)

    everybody = count("SELECT count(DISTINCT patient), count(*) FROM judged")
    steps = [Step("ct", "", "CT in the index", *everybody)]
    for rule in rules(settings):
        if rule.applied:
            left = count(
                "SELECT count(DISTINCT j.patient), count(*) FROM judged j "
                "JOIN patients p ON j.patient = p.patient "
                "WHERE p.broken > $1 AND j.broken > $1 AND role IS NOT NULL",
                rule.number,
            )
            steps.append(Step(rule.step, rule.code, rule.text, *left))
    paired = count("SELECT count(*), 2 * count(*) FROM pairs")
    steps.append(Step("candidates", "", "one pair a patient", *paired))
    for role, purpose in (("train", "training"), ("test_pool", "the test pool")):
        drawn = count("SELECT count(*), 2 * count(*) FROM candidates WHERE sampled = $1", role)
        steps.append(Step(role, "", f"sampled for {purpose}", *drawn))
    return steps
