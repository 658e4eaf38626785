"""How values of pandas are written.

A column is its dtype and its values: the storage (python or Arrow), the blocks of a frame,
the frequency of an index and what lies under a missing value do not count.  An index is its
names and labels, so a range index equals an integer one.  Text in a column of dtype object
equals text of dtype ``str``, since the two majors of pandas give one and the other to the
same data; the dtype ``string`` differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskperiment.fingerprint import arrow
from daskperiment.fingerprint.arrays import NA, NAN, array, texts
from daskperiment.fingerprint.plain import moment, zone
from daskperiment.fingerprint.walk import Rule, Stuck, Walk, atom, seal, text, whole

if TYPE_CHECKING:
    import pandas


def rule_for(kind: type) -> Rule | None:
    """The rule of a type that pandas defines, or None."""
    import pandas as pd

    families: dict[Any, Rule] = {
        pd.MultiIndex: _multi_index,
        type(pd.NA): lambda walk, value: b"pandas.NA:",
        type(pd.NaT): lambda walk, value: b"pandas.NaT:",
        pd.api.extensions.ExtensionDtype: _dtype,
        pd.api.extensions.ExtensionArray: _extension_array,
    }
    families |= {getattr(pd, name): rule for name, rule in _RULES.items()}
    return next((rule for base, rule in families.items() if issubclass(kind, base)), None)


def _frame(walk: Walk, value: pandas.DataFrame) -> bytes:
    labels = walk.encode(value.columns), walk.encode(value.index), walk.encode(value.attrs)
    columns: list[bytes] = []
    try:
        for _, column in value.items():
            columns.append(_column(walk, column))
    except Stuck as stuck:
        stuck.steps.append(f"[column {len(columns)}]")
        raise
    return seal(b"pandas.DataFrame", *labels, *columns)


def _series(walk: Walk, value: pandas.Series[Any]) -> bytes:
    parts = walk.encode(value.name), walk.encode(value.index), walk.encode(value.attrs)
    return seal(b"pandas.Series", *parts, _column(walk, value))


def _index(walk: Walk, value: pandas.Index[Any]) -> bytes:
    return seal(b"pandas.Index", walk.encode(list(value.names)), _column(walk, value))


def _multi_index(walk: Walk, value: pandas.MultiIndex) -> bytes:
    # Not its levels: they keep labels that no row has any more.
    levels = [_column(walk, value.get_level_values(level)) for level in range(value.nlevels)]
    return seal(b"pandas.MultiIndex", walk.encode(list(value.names)), *levels)


def _extension_array(walk: Walk, value: Any) -> bytes:
    return seal(b"pandas.array", _column(walk, value))


def _column(walk: Walk, values: Any) -> bytes:
    """The form of the values of a series, an index or an extension array."""
    import pandas as pd

    dtype = values.dtype
    if not isinstance(dtype, pd.api.extensions.ExtensionDtype):
        plain = values.to_numpy()
        return _objects(walk, plain.tolist(), "str") if dtype.hasobject else array(walk, plain)
    held = getattr(values, "array", values)
    if isinstance(dtype, pd.StringDtype):
        return _strings(walk, dtype, held)
    if type(held).__module__.partition(".")[0] != "pandas":
        return walk.encode(held)
    return seal(b"pandas.column", _dtype(walk, dtype), *_extension(walk, dtype, held))


def _strings(walk: Walk, dtype: pandas.StringDtype[Any], held: Any) -> bytes:
    import pandas as pd

    name, mark = ("string", NA) if dtype.na_value is pd.NA else ("str", NAN)
    if dtype.storage == "python":
        return _objects(walk, held.to_numpy(dtype=object).tolist(), name)
    return seal(b"pandas.texts", text(name), *arrow.words(held.__arrow_array__().chunks, mark))


def _objects(walk: Walk, items: list[object], name: str) -> bytes:
    words = texts(items)
    if words is None:
        return seal(b"pandas.objects", walk.sequence(items))
    return seal(b"pandas.texts", text(name), *words)


def _extension(walk: Walk, dtype: Any, held: Any) -> list[bytes]:
    import numpy as np
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return [array(walk, held.codes.astype("<i8"))]
    if isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return [array(walk, held.asi8)]
    if isinstance(dtype, pd.IntervalDtype):
        return [_column(walk, held.left), _column(walk, held.right)]
    if isinstance(dtype, pd.SparseDtype):
        return _sparse(walk, held)
    if isinstance(dtype, pd.ArrowDtype):
        return [arrow.column(walk, dtype.pyarrow_dtype, held.__arrow_array__().chunks)]
    plain = getattr(dtype, "numpy_dtype", None)
    if plain is None:
        raise Stuck(f"extension dtype {type(dtype).__name__}")
    if plain.hasobject:
        return [_objects(walk, held.to_numpy().tolist(), "str")]
    missing = np.asarray(held.isna())
    return [array(walk, missing), array(walk, held.to_numpy(dtype=plain, na_value=0))]


def _sparse(walk: Walk, held: Any) -> list[bytes]:
    """Where the values are that differ from the one that fills the gaps, and these values."""
    import numpy as np

    places, values, fill = held.sp_index.to_int_index().indices, held.sp_values, held.fill_value
    differ = values != fill if fill == fill else values == values
    kept = array(walk, places[differ].astype("<i8")), array(walk, np.asarray(values)[differ])
    return [whole(len(held)), walk.encode(np.asarray([fill], values.dtype)), *kept]


def _dtype(walk: Walk, dtype: Any) -> bytes:
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        categories = b"" if dtype.categories is None else _column(walk, dtype.categories)
        return seal(b"pandas.categories", walk.encode(dtype.ordered), categories)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return atom(b"pandas.dtype", f"{dtype.unit} {zone(dtype.tz)}".encode())
    return atom(b"pandas.dtype", str(dtype).encode())


def _interval(walk: Walk, value: pandas.Interval[Any]) -> bytes:
    parts = value.closed, value.left, value.right
    return seal(b"pandas.Interval", walk.sequence(parts))


_RULES: Mapping[str, Rule] = {
    "DataFrame": _frame,
    "Series": _series,
    "Index": _index,
    "Timestamp": lambda walk, value: moment(b"pandas.Timestamp", value),
    "Timedelta": lambda walk, value: atom(b"pandas.Timedelta", value.isoformat().encode()),
    "Period": lambda walk, value: seal(
        b"pandas.Period", walk.sequence((value.ordinal, value.freqstr))
    ),
    "Interval": _interval,
}
