"""What an editor knows of the pipeline file: its JSON Schema, made from the settings themselves.

`python -c "from backfill.scaffold.json_schema import write_schema as w; w()"` writes it anew.
"""

import json
from pathlib import Path
from typing import Any

from backfill.pipeline.file import Pipeline
from backfill.scaffold.setting_docs import ABOUT

SCHEMA_FILE = Path(__file__).with_name("pipeline.schema.json")
_DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors of TOML understand


def schema_uri() -> str:
    """Where an editor finds the schema, for the `#:schema` line of a pipeline file."""
    return SCHEMA_FILE.resolve().as_uri()


def pipeline_schema() -> dict[str, Any]:
    """The JSON Schema of the pipeline file, each key with what it does."""
    made = Pipeline.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    del made["properties"]["path"]  # no key of the file: where it lies
    made["required"].remove("path")
    made["definitions"] = made.pop("$defs")
    for name, table in (("Pipeline", made), *made["definitions"].items()):
        for key, setting in table.get("properties", {}).items():
            setting.pop("title", None)
            about = ABOUT.get(f"{name}.{key}") or ABOUT.get(key)
            if about:
                setting["description"] = about
    return {"$schema": _DIALECT, **made, "title": "A pipeline of backfill"}


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(pipeline_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schema() -> None:
    """Write the schema's file, after the settings have changed."""
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
