"""How the store may write its answers: formats and settings by name. All others are refused.

Left out on purpose: formats that take a template or schema from a file (Template, Protobuf, CapnProto), or that write
or ask a registry (AvroConfluent). Also formats that draw or speak a database's own protocol. And each setting whose
value is a path, an address or the text of a template.
"""

from __future__ import annotations

from typing import Final

_SEPARATED: Final = ("TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary", "JSONCompactEachRow")
_PRETTY: Final = ("Pretty", "PrettyCompact", "PrettySpace")
FORMATS: Final = frozenset(
    (
        *(f"{name}{end}" for name in _SEPARATED for end in ("", "WithNames", "WithNamesAndTypes")),
        *("TSKV", "Raw", "RawBLOB", "LineAsString", "Native", "Null", "Values", "Vertical", "XML"),
        *("JSON", "JSONStrings", "JSONColumns", "JSONColumnsWithMetadata", "JSONCompact", "JSONCompactStrings"),
        *("JSONCompactColumns", "JSONEachRow", "JSONLines", "JSONL", "NDJSON", "JSONStringsEachRow"),
        *("JSONObjectEachRow", "PrettyJSONEachRow", "PrettyJSONLines", "PrettyNDJSON", "BSONEachRow", "MsgPack"),
        *(f"{name}{end}" for name in _PRETTY for end in ("", "NoEscapes", "MonoBlock", "NoEscapesMonoBlock")),
        *("PrettyCompactMonoBlock", "Markdown", "MD", "SQLInsert", "Avro", "Parquet", "Arrow", "ArrowStream", "ORC"),
    )
)
"""Names as ClickHouse spells them."""
FORMATTING: Final = frozenset(
    (
        *(
            f"output_format_json_{name}"
            for name in (
                *("quote_64bit_integers", "quote_64bit_floats", "quote_decimals", "quote_denormals"),
                *("escape_forward_slashes", "named_tuples_as_objects", "array_of_rows", "pretty_print"),
                *("skip_null_value_in_named_tuples", "map_as_array_of_tuples", "validate_utf8"),
            )
        ),
        *(
            f"output_format_pretty_{name}"
            for name in (
                *("color", "row_numbers", "max_rows", "max_column_pad_width", "max_value_width", "multiline_fields"),
                *("grid_charset", "highlight_digit_groups", "single_large_number_tip_threshold"),
                *("fallback_to_vertical", "display_footer_column_names"),
            )
        ),
        *("output_format_csv_crlf_end_of_line", "output_format_tsv_crlf_end_of_line"),
        *("format_csv_delimiter", "format_csv_null_representation", "format_tsv_null_representation"),
        *("output_format_decimal_trailing_zeros", "output_format_float_precision", "output_format_write_statistics"),
        *("output_format_arrow_string_as_string", "output_format_arrow_compression_method"),
        *("output_format_arrow_low_cardinality_as_dictionary", "output_format_parquet_string_as_string"),
        *("output_format_parquet_compression_method", "output_format_orc_string_as_string"),
        *("output_format_msgpack_uuid_representation", "output_format_native_encode_types_in_binary_format"),
        *("output_format_binary_encode_types_in_binary_format", "output_format_parallel_formatting"),
        *("output_format_native_write_json_as_string", "output_format_binary_write_json_as_string"),
        *("date_time_output_format", "date_time_input_format", "date_time_overflow_behavior"),
    )
)
"""Settings that say how an answer is written, and nothing else."""
