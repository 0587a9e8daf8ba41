"""Draw samples that do not depend on the order of rows and change little when rules change.

Two hashes of seed and patient decide: one assigns the patient to training or to the test pool, the other
gives a place in the queue. Neither depends on other patients, so a stricter rule replaces only the patients
that it removes, by the next in the queue.
"""

import hashlib

from lcsd.cohort.index import Connection, first_row
from lcsd.errors import BadInputError
from lcsd.settings.cohort import CohortSettings

HASH_DIGITS = 8  # hex digits of the hash that choose the side: resolution 2^-32

CASE_PREFIX = "nlst_"
CASE_DIGITS = 10  # hex digits of a case's name: the chance that two of 21,659 pairs share a name is 1 in 4,700


def side(seed: int, patient: str, share: float) -> str:
    """Return ``test_pool`` or ``train`` for a patient, as the query below does."""
    digest = hashlib.sha256(f"side:{seed}:{patient}".encode()).hexdigest()
    return "test_pool" if digest[:HASH_DIGITS] < threshold(share) else "train"


def threshold(share: float) -> str:
    """Return the threshold, in hex digits: a patient with a lower hash belongs to the test pool."""
    return f"{min(int(share * 16**HASH_DIGITS), 16**HASH_DIGITS - 1):0{HASH_DIGITS}x}"


_CANDIDATES = """
CREATE TABLE candidates AS
WITH drawn AS (
    SELECT *, CASE
        WHEN left(sha256('side:' || $seed || ':' || patient), $digits) < $threshold
        THEN 'test_pool' ELSE 'train' END AS side,
        sha256('place:' || $seed || ':' || patient) AS place
    FROM pairs
), queued AS (
    SELECT *, row_number() OVER (PARTITION BY side ORDER BY place, patient) AS turn FROM drawn
)
SELECT $prefix || left(sha256(fixed.uid || ' ' || moving.uid), $case_digits) AS "case",
    patient AS patient_id,
    CASE WHEN turn <= CASE side WHEN 'train' THEN $train ELSE $test_pool END THEN side END
        AS sampled,
    $fixed_name AS fixed_time, $moving_name AS moving_time,
    fixed.uid AS fixed_series, moving.uid AS moving_series,
    fixed.maker AS fixed_maker, moving.maker AS moving_maker,
    fixed.model AS fixed_model, moving.model AS moving_model,
    fixed.kernel AS fixed_kernel, moving.kernel AS moving_kernel,
    fixed.family AS fixed_kernel_family, moving.family AS moving_kernel_family,
    fixed.thickness_mm AS fixed_thickness_mm, moving.thickness_mm AS moving_thickness_mm,
    fixed.slices AS fixed_slices, moving.slices AS moving_slices,
    fixed.view_mm AS fixed_view_mm, moving.view_mm AS moving_view_mm,
    fixed.voltage_kv AS fixed_voltage_kv, moving.voltage_kv AS moving_voltage_kv,
    round(fixed.size_mb, 3) AS fixed_size_mb, round(moving.size_mb, 3) AS moving_size_mb,
    fixed.url AS fixed_url, moving.url AS moving_url,
    fixed.segmentation AS fixed_segmentation, moving.segmentation AS moving_segmentation
FROM queued ORDER BY patient
"""


def draw(connection: Connection, settings: CohortSettings, *, seed: int) -> None:
    """Create the table ``candidates`` from ``pairs``; ``sampled`` is train, test_pool or NULL.

    A case's name is a hash of its two series, so it depends on neither sample nor seed. Raises
    ``BadInputError`` (``case_collision``) if two pairs have the same name.
    """
    connection.execute(
        _CANDIDATES,
        {
            "prefix": CASE_PREFIX,
            "case_digits": CASE_DIGITS,
            "seed": str(seed),
            "digits": HASH_DIGITS,
            "threshold": threshold(settings.test_pool_share),
            "train": settings.train,
            "test_pool": settings.test_pool,
            "fixed_name": settings.fixed_time,
            "moving_name": settings.moving_time,
        },
    )
    shared = first_row(
        connection,
        'SELECT "case", min(fixed_series), max(fixed_series) FROM candidates GROUP BY "case"'
        ' HAVING count(*) > 1 ORDER BY "case" LIMIT 1',
    )
    if shared:
        raise BadInputError(
            "two candidates have the same case name",
            code="case_collision",
            field="case",
            expected="a unique name for each pair",
            found=f"{shared[0]} for the baselines {shared[1]} and {shared[2]}",
            remedy="exclude one of them with --series-file",
        )
