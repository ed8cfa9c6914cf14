"""Frames of many days as one Arrow block, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def to_block(what: str, frames: Mapping[str, pd.DataFrame]) -> tuple[bytes, Iterator[str]]:
    """An Arrow IPC file (lz4) with one record batch for each frame, in their order.

    Args:
        what: Name of the frames in an error.
        frames: At least one, all with the same columns; an index is not kept.

    Returns:
        The file, and the digest of each batch by itself (``batch_digest``), made as it is asked.

    Raises:
        ValueError: Where the frames differ in columns, types or ordered categories.
    """
    import pyarrow as pa

    whole = _unified(_concat(what, _tables(what, frames)))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    starts = accumulate((len(frame) for frame in frames.values()), initial=0)
    places = [(start, len(frame)) for start, frame in zip(starts, frames.values(), strict=False)]
    with pa.ipc.new_file(sink, whole.schema, options=options) as writer:
        for start, rows in places:
            writer.write_batch(_batch(whole, start, rows))
    content: bytes = sink.getvalue().to_pybytes()
    return content, (batch_digest(_batch(whole, start, rows)) for start, rows in places)


def batch_digest(batch: Any) -> str:
    """Digest of a batch's rows and types, the same whatever else lies in its block.

    Of a categorical the values count, not the codes, which are those of the whole block.
    """
    import numpy as np
    import pyarrow as pa

    named = (batch.schema.pandas_metadata or {}).get("columns", ())
    kinds = [(c["field_name"], c["numpy_type"]) for c in named if c["pandas_type"] != "categorical"]
    found = hashlib.sha256(repr(kinds).encode())
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind, values = column.type, column
        if pa.types.is_dictionary(kind):
            kind, values = (kind.value_type, kind.ordered), column.dictionary_decode()
        found.update(repr((name, str(kind), len(values), values.null_count)).encode())
        if values.null_count:
            valid = values.is_valid().to_numpy(zero_copy_only=False)
            found.update(np.packbits(valid).tobytes())
            values = values.drop_null()
        for part in _plain_bytes(values):
            found.update(part)
    return found.hexdigest()


def _plain_bytes(values: Any) -> Iterator[Any]:
    """The content of an array without missing values, however it is laid out in memory."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield np.ascontiguousarray(pc.binary_length(values).to_numpy())
        whole = pa.LargeListArray.from_arrays([0, len(values)], values)
        yield pc.binary_join(whole, pa.scalar("", kind))[0].as_buffer()
    elif pa.types.is_primitive(kind):
        plain = np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
        yield plain.view(np.uint8)
    else:
        yield repr(values.to_pylist()).encode()


def nullable_types() -> dict[Any, Any]:
    """Arrow's whole numbers and truth values to the types of pandas that can miss some."""
    import pandas as pd
    import pyarrow as pa

    found: dict[Any, Any] = {
        getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")()
        for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
    }
    return found | {pa.bool_(): pd.BooleanDtype()}


def with_whole_numbers(frame: pd.DataFrame, table: Any) -> pd.DataFrame:
    """A frame made of an Arrow table, with the whole numbers that are beside gaps within its lists.

    ``to_pandas`` gives lists, structs and maps whose whole numbers are floats where one is missing.
    """
    import pandas as pd

    made = {
        name: pd.Series(list(map(_arrays, column.to_pylist())), index=frame.index, dtype=object)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if any(_rounded(chunk) for chunk in column.chunks)
    }
    return frame.assign(**made) if made else frame


def _rounded(values: Any) -> bool:
    """Whether whole numbers lie beside gaps within lists, structs or maps."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_map(kind):
        inner = [values.items]
    elif pa.types.is_fixed_size_list(kind):  # the items of a missing list are missing ones
        inner = [values.values]
    elif pa.types.is_nested(kind):
        inner = values.flatten() if pa.types.is_struct(kind) else [values.flatten()]
    else:
        return False
    return any(_has_gaps(part) or _rounded(part) for part in inner)


def _arrays(value: Any) -> Any:
    """Lists as arrays of Python's values, as ``to_pandas`` gives them."""
    import numpy as np

    if isinstance(value, dict):
        return {name: _arrays(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], tuple):  # of a map
        return [(key, _arrays(each)) for key, each in value]
    found = np.empty(len(value), dtype=object)
    found[:] = [_arrays(each) for each in value]
    return found


def _batch(whole: Any, start: int, rows: int) -> Any:
    """These rows of a table as one record batch; whole chunks are not copied."""
    import pyarrow as pa

    if rows:
        return whole.slice(start, rows).combine_chunks().to_batches()[0]
    none = [column.combine_chunks().slice(0, 0) for column in whole.columns]
    return pa.RecordBatch.from_arrays(none, schema=whole.schema)


def read_block(path: Path, positions: Sequence[int], columns: Sequence[str] | None) -> list[Any]:
    """The record batches at these positions, memory-mapped, with only these columns.

    Raises:
        ValueError: Where a column is not there.
    """
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions()
    with pa.memory_map(str(path)) as source:
        if columns is not None:
            names = pa.ipc.open_file(source).schema.names
            absent = sorted(set(columns) - set(names))
            if absent:
                raise ValueError(f"{path}: found no column {absent}; expected one of {names}.")
            options.included_fields = [names.index(name) for name in columns]
        reader = pa.ipc.open_file(source, options=options)
        return [reader.get_batch(position) for position in positions]


def column_types(path: Path) -> dict[str, str]:
    """Each column of a block with its type; of a categorical, the type of its values."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
    kinds = {field.name: field.type for field in schema}
    return {
        name: str(kind.value_type if pa.types.is_dictionary(kind) else kind)
        for name, kind in kinds.items()
    }


def to_frame(batches: Sequence[Any], columns: Sequence[str] | None) -> pd.DataFrame:
    """The batches one below the other, with a fresh index.

    A column that some batches do not have is missing in their rows. Unordered categoricals get the
    categories that occur, sorted, so that the frame depends on its rows alone, not on which days
    share a block.

    Raises:
        ValueError: Where the batches differ in types or ordered categories.
    """
    import pandas as pd
    import pyarrow as pa

    alike = groupby(batches, lambda batch: (batch.schema, batch.schema.metadata))
    tables = [pa.Table.from_batches(list(same)) for _, same in alike]
    whole = _unified(_concat("these days", tables))
    unnamed = _unnamed_types(whole)
    frame = _with_plain_categories(_without_types(whole, unnamed).to_pandas())
    gaps = _nullable(tables) | {name for name in whole.column_names if _has_gaps(whole[name])}
    for name in gaps:  # whole numbers with gaps would be read as floats
        frame[name] = whole[name].to_pandas(types_mapper=nullable_types().get)
    frame = with_whole_numbers(frame, whole)
    frame = frame.assign(**{name: pd.array(whole[name], kind) for name, kind in unnamed.items()})
    return frame[list(columns)] if columns is not None else frame


def _unnamed_types(table: Any) -> dict[str, Any]:
    """Columns that a frame held in a type of Arrow that pandas cannot find again by its name."""
    import pandas as pd

    found = {}
    for column in (table.schema.pandas_metadata or {}).get("columns", ()):
        name, kind = column["field_name"], column["numpy_type"]
        if kind.endswith("[pyarrow]") and name in table.column_names:
            try:
                pd.api.types.pandas_dtype(kind)
            except (TypeError, ValueError, NotImplementedError):
                found[name] = pd.ArrowDtype(table.schema.field(name).type)
    return found


def _without_types(table: Any, names: Collection[str]) -> Any:
    """The table without what its metadata say of these columns' types in pandas."""
    if not names:
        return table
    noted = table.schema.pandas_metadata
    for column in noted["columns"]:
        if column["field_name"] in names:
            column["numpy_type"] = "object"
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(noted)})


def _has_gaps(column: Any) -> bool:
    import pyarrow as pa

    return bool(column.null_count) and pa.types.is_integer(column.type)


def _nullable(tables: Sequence[Any]) -> set[str]:
    """Columns that some of the frames held in a type that can miss values, and others did not."""
    kinds: dict[str, set[str]] = {}
    for table in tables:
        for column in (table.schema.pandas_metadata or {}).get("columns", ()):
            kinds.setdefault(column["field_name"], set()).add(column["numpy_type"])
    known = {str(kind) for kind in nullable_types().values()}
    names = {name for table in tables for name in table.column_names}
    return {name for name, found in kinds.items() if found & known and len(found) > 1} & names


def _tables(kind: str, frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    """The frames as Arrow tables, with categorical codes wide enough for all days."""
    import pyarrow as pa

    first, names = next((key, list(frame.columns)) for key, frame in frames.items())
    tables = []
    for key, frame in frames.items():
        if list(frame.columns) != names:
            raise ValueError(
                f"{kind}: {key} has the columns {list(frame.columns)}, {first} has {names}; "
                "all days of one call must have the same."
            )
        table = pa.Table.from_pandas(frame, preserve_index=False)
        wide = [
            field.with_type(pa.dictionary(pa.int32(), field.type.value_type, field.type.ordered))
            if pa.types.is_dictionary(field.type)
            else field
            for field in table.schema
        ]
        tables.append(table.cast(pa.schema(wide, table.schema.metadata)))
    return tables


def _concat(what: str, tables: list[Any]) -> Any:
    """The tables one below the other; a column empty on some days takes the others' type."""
    import pyarrow as pa

    for name in dict.fromkeys(name for table in tables for name in table.schema.names):
        having = [table for table in tables if name in table.schema.names]
        kinds = [table.schema.field(name).type for table in having]
        if any(pa.types.is_dictionary(kind) and kind.ordered for kind in kinds):
            chunks = (chunk for table in having for chunk in table[name].chunks)
            orders = {tuple(chunk.dictionary.to_pylist()) for chunk in chunks}
            if len(orders) > 1:
                raise ValueError(f"{name}: the ordered categories differ between {what}.")
    try:
        return pa.concat_tables(_empty_as_null(tables), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{what}: the columns differ in type: {error}") from error


def _empty_as_null(tables: list[Any]) -> list[Any]:
    """Columns of missing numbers lose their type where other tables have another type.

    A join without a match makes such a column where other days have text.
    """
    import pyarrow as pa

    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    others = {
        field.name
        for table in tables
        for field in table.schema
        if not any(is_kind(field.type) for is_kind in numbers)
    }
    found = []
    for table in tables:
        for place, field in enumerate(table.schema):
            if field.name in others and pa.types.is_floating(field.type):
                column = table.column(place)
                if column.null_count == len(column):
                    table = table.set_column(place, field.name, pa.nulls(len(column)))
        found.append(table)
    return found


def _unified(table: Any) -> Any:
    """One dictionary per column; Arrow cannot unify dictionaries without a category."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        kind = field.type
        if not pa.types.is_dictionary(kind):
            continue
        if pa.types.is_null(kind.value_type):
            codes = pa.nulls(len(table), kind.index_type)
            none = pa.DictionaryArray.from_arrays(codes, pa.nulls(0), ordered=kind.ordered)
            column = pa.chunked_array([none])
        else:
            column = table.column(place).unify_dictionaries()
        table = table.set_column(place, field, column)
    return table


def _with_plain_categories(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    plain = {}
    for name, kind in frame.dtypes.items():
        if isinstance(kind, pd.CategoricalDtype) and not kind.ordered:
            used = frame[name].cat.remove_unused_categories()
            plain[str(name)] = used.cat.reorder_categories(used.cat.categories.sort_values())
    return frame.assign(**plain) if plain else frame
