"""An application's own Alembic beside our tables, with the `env.py` of the guide."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect
from tests.releases import REPOSITORY

PAGE = (REPOSITORY / "docs/how-to/use-alembic-beside.md").read_text()
(ENV,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Task(Base):
    __tablename__ = "task"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(index=True)
"""


@pytest.fixture
def config(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """An Alembic project, whose model has a name that ours had once, on a migrated database."""
    (tmp_path / "site/shop").mkdir(parents=True)
    (tmp_path / "site/shop/models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "site/migrations"))
    config.set_main_option("sqlalchemy.url", store_url.replace("%", "%%"))
    config.config_file_name = str(tmp_path / "site/alembic.ini")
    command.init(config, str(tmp_path / "site/migrations"))
    write_env(config, ENV)
    yield config
    for name in ("shop", "shop.models"):
        sys.modules.pop(name, None)


def write_env(config: Config, text: str) -> None:
    (Path(str(config.get_main_option("script_location"))) / "env.py").write_text(text)


def generated(config: Config) -> str:
    """The text of a migration that Alembic writes by itself."""
    script = command.revision(config, "generated", autogenerate=True)
    assert script is not None and not isinstance(script, list)
    return Path(script.path).read_text()


def test_autogenerate_creates_and_drops_nothing_of_ours(config: Config, store_url: str) -> None:
    text = generated(config)
    assert "create_table('task'" in text
    assert "taskdb_" not in text

    command.upgrade(config, "head")
    command.check(config)
    engine = create_engine(store_url)
    assert {"task", "taskdb_task", "taskdb_event", "alembic_version", "taskdb_version"} <= set(
        inspect(engine).get_table_names()
    )
    engine.dispose()


def test_without_the_hook_it_would_drop_them(config: Config) -> None:
    write_env(config, ENV.replace("        include_name=include_name,\n", ""))
    assert "drop_table('taskdb_task')" in generated(config)
