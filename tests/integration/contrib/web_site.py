"""Web applications of the tests, each with the same orders: Flask, FastAPI sync, FastAPI async.

    python -m tests.integration.contrib.web_site flask|sync|async PORT

Settings come from the environment; SHOP_DATABASE_URL is that of SQLAlchemy's engines. An order may
`end` in "raise" (after the submit) or "die" (kill -9 right after the commit).
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from taskdb import TaskContext, TaskDB, task
from taskdb.contrib.asgi import OriginMiddleware
from taskdb.contrib.flask import FlaskTaskDB

INSERT = text("INSERT INTO shop_order (name) VALUES (:name)")


@task("order.mail")
def mail(ctx: TaskContext, name: str) -> str:
    return f"mailed {name}"


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare(session: Session, end: str) -> None:
    if end == "die":
        # Before the hook of the submit, which publishes.
        event.listen(session, "after_commit", die)


# --- Flask ----------------------------------------------------------------------------------------


def make_flask() -> Flask:
    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SHOP_DATABASE_URL"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 20, "max_overflow": 40}
    db = SQLAlchemy(app)
    shop = FlaskTaskDB(app, session=db.session, user=lambda: 7)

    @app.post("/orders/<name>/<end>")
    def order(name: str, end: str) -> dict[str, str]:
        prepare(db.session(), end)
        db.session.execute(INSERT, {"name": name})
        entity = shop.submit_task("order.mail", {"name": name})
        if end == "raise":
            raise RuntimeError("after the submit")
        db.session.commit()
        return {"id": entity.id}

    return app


# --- FastAPI, synchronous -------------------------------------------------------------------------


def make_sync() -> FastAPI:
    engine = create_engine(os.environ["SHOP_DATABASE_URL"], pool_size=20, max_overflow=40)
    taskdb = TaskDB()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with taskdb:
            yield
        engine.dispose()

    def session() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(OriginMiddleware, user=lambda scope: 7)

    @app.post("/orders/{name}/{end}")
    def order(
        name: str, end: str, session: Annotated[Session, Depends(session, scope="function")]
    ) -> dict[str, str]:
        prepare(session, end)
        session.execute(INSERT, {"name": name})
        entity = taskdb.submit_task("order.mail", {"name": name}, session=session)
        if end == "raise":
            raise RuntimeError("after the submit")
        return {"id": entity.id}

    return app


# --- FastAPI, asynchronous ------------------------------------------------------------------------


def make_async() -> FastAPI:
    engine = create_async_engine(os.environ["SHOP_DATABASE_URL"], pool_size=20, max_overflow=40)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with TaskDB() as app.state.taskdb:
            yield
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(OriginMiddleware, user=lambda scope: 7)

    @app.post("/orders/{name}/{end}")
    async def order(
        request: Request,
        name: str,
        end: str,
        session: Annotated[AsyncSession, Depends(session, scope="function")],
    ) -> dict[str, str]:
        prepare(session.sync_session, end)
        await session.execute(INSERT, {"name": name})
        taskdb: TaskDB = request.app.state.taskdb
        entity = await taskdb.submit_task_async("order.mail", {"name": name}, session=session)
        if end == "raise":
            raise RuntimeError("after the submit")
        return {"id": entity.id}

    return app


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "flask":
        make_server("127.0.0.1", port, make_flask(), threaded=True).serve_forever()
    else:
        app = make_sync() if kind == "sync" else make_async()
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
