"""The named queries: each fits the schema, says what its parameters are, and is used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import conftrack
from conftrack.storage.database import Database
from conftrack.storage.queries import names, query

PACKAGE = Path(conftrack.__file__).parent
PARAMETER = re.compile(r"\$(\d+)")


def parts(name: str) -> tuple[str, str]:
    """What its comments say, and its statements."""
    lines = query(name).splitlines()
    comments = [line for line in lines if line.lstrip().startswith("--")]
    return "\n".join(comments), "\n".join(re.sub(r"--.*", "", line) for line in lines)


async def test_every_query_fits_the_schema_and_names_its_parameters(database: Database) -> None:
    """It can be prepared on a migrated database, and each parameter stands in its comment, in order."""
    wrong = []
    async with database.pool.acquire() as connection:
        for name in sorted(names()):
            said, statements = parts(name)
            async with connection.transaction():
                if len([part for part in statements.split(";") if part.strip()]) > 1:
                    await connection.execute(query(name))  # several statements take no parameters
                    count = 0
                else:
                    count = len((await connection.prepare(query(name))).get_parameters())
            if [int(number) for number in PARAMETER.findall(said)] != list(range(1, count + 1)):
                wrong.append(name)

    assert wrong == []


def test_every_query_is_used_and_every_used_one_exists() -> None:
    """Nothing in sql/queries is left over, and no name is misspelt where it is not run by a test."""
    words: set[str] = set()
    asked: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("query", "_one"):
                asked |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}

    assert names() - words == set()
    assert asked - names() == set()
