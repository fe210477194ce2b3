"""What conftrack is compared with: dlt reading the same lists of the same node into Postgres, merged by id.

Run by `end_to_end.py` with an interpreter that has dlt; a `Task` as JSON is its argument, a `Load` as JSON each line
of its output. Tuned means: the cheaper merge (`upsert`), CSV for COPY instead of INSERT files, files large enough not
to matter and not compressed, and a normalizing process for each of two cores.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TypedDict

PAGE = 1000
TUNED = {
    "EXTRACT__WORKERS": "5",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "60000",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "LOAD__WORKERS": "4",
}


class Task(TypedDict):
    url: str
    username: str
    password: str
    dsn: str
    #: Where dlt keeps what it is working on.
    folder: str
    tuned: bool
    #: The lists inside a row become tables of their own, as dlt does it by itself; else they are kept as JSON.
    tables: bool
    #: How often everything is read.
    readings: int


class Load(TypedDict):
    extract: float
    normalize: float
    load: float
    conferences: int
    participants: int


def main(task: Task) -> None:
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": task["folder"]}
    if task["tuned"]:
        os.environ |= TUNED
    import dlt  # type: ignore[import-not-found]  # after its settings, and not in our own environment
    from dlt.sources.rest_api import rest_api_source  # type: ignore[import-not-found]

    source = rest_api_source(
        {
            "client": {
                "base_url": f"{task['url']}/api/admin/history/v1/",
                "auth": {"type": "http_basic", "username": task["username"], "password": task["password"]},
                "paginator": {"type": "json_link", "next_url_path": "meta.next"},
            },
            "resource_defaults": {
                "primary_key": "id",
                "write_disposition": {
                    "disposition": "merge",
                    "strategy": "upsert" if task["tuned"] else "delete-insert",
                },
                "max_table_nesting": None if task["tables"] else 0,
                "endpoint": {"params": {"limit": PAGE, "order_by": "end_time"}, "data_selector": "objects"},
            },
            "resources": [
                {"name": "conference", "endpoint": {"path": "conference/"}},
                {"name": "participant", "endpoint": {"path": "participant/"}},
            ],
        }
    )
    pipeline = dlt.pipeline(
        "peer", destination=dlt.destinations.postgres(credentials=task["dsn"]), dataset_name="pexip", progress=None
    )
    for _ in range(task["readings"]):
        times = [time.perf_counter()]
        pipeline.extract(source, loader_file_format="csv" if task["tuned"] else None)
        times.append(time.perf_counter())
        pipeline.normalize()
        times.append(time.perf_counter())
        pipeline.load().raise_on_failed_jobs()
        times.append(time.perf_counter())
        with pipeline.sql_client() as client:
            rows = {name: client.execute_sql(f"select count(*) from {name}")[0][0] for name in source.resources}  # noqa: S608
        load: Load = {
            "extract": times[1] - times[0],
            "normalize": times[2] - times[1],
            "load": times[3] - times[2],
            "conferences": rows["conference"],
            "participants": rows["participant"],
        }
        print(json.dumps(load), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
