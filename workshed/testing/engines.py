"""Lead the application's own engines of SQLAlchemy to the database of the tests."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from workshed.database.urls import list_servers, split_hosts
from workshed.extras import require_extra

with require_extra("sqlalchemy"):
    import sqlalchemy
    from sqlalchemy import event
    from sqlalchemy.orm import scoped_session, sessionmaker
    from sqlalchemy.pool import NullPool

from workshed.testing.errors import KitError


@contextmanager
def redirect_engines(targets: Sequence[Any], database_url: Callable[[], str]) -> Generator[None]:
    """Let engines, also those of sessionmakers, connect to another database inside the block.

    They keep no connections meanwhile: an idle one could block the next test, and one of asyncio
    cannot be used by its event loop.
    """
    engines = {id(engine): engine for target in targets for engine in list_engines(target)}
    with ExitStack() as stack:
        for engine in engines.values():
            stack.enter_context(_redirect(engine, database_url))
        yield


def list_engines(target: Any) -> list[sqlalchemy.Engine]:
    """Return the engines of an engine or sessionmaker, synchronous or for asyncio.

    Raises `KitError` for anything else, and for a sessionmaker without an engine.
    """
    if isinstance(target, scoped_session) or hasattr(target, "session_factory"):
        target = target.session_factory
    if isinstance(target, sessionmaker) or hasattr(target, "kw"):
        binds = [target.kw.get("bind"), *(target.kw.get("binds") or {}).values()]
        bound = [bind for bind in binds if bind is not None]
        if not bound:
            raise KitError(
                f"jobs_engines: {target!r} has no engine yet; return the engine itself, or bind it "
                "before the first test"
            )
        return [engine for bind in bound for engine in list_engines(bind)]
    engine = getattr(target, "sync_engine", target)
    if not isinstance(engine, sqlalchemy.Engine):
        raise KitError(
            f"jobs_engines: {target!r} is neither an engine nor a sessionmaker of SQLAlchemy"
        )
    return [engine]


@contextmanager
def _redirect(engine: sqlalchemy.Engine, database_url: Callable[[], str]) -> Generator[None]:
    dialect, pool = engine.dialect, engine.pool
    original = set(dialect.create_connect_args(engine.url)[1])

    def connect(_dialect: object, _record: object, words: list[Any], options: Any) -> None:
        url = _parse_url(database_url(), engine.url.drivername)
        for name in original:
            options.pop(name, None)
        words[:], added = dialect.create_connect_args(url)
        options.update(added)

    event.listen(engine, "do_connect", connect)
    # As `Pool.recreate` does, with the listeners of the application.
    engine.pool = NullPool(pool._creator, dialect=dialect, _dispatch=pool.dispatch)  # noqa: SLF001
    try:
        yield
    finally:
        event.remove(engine, "do_connect", connect)
        engine.pool = pool


def _parse_url(text: str, drivername: str) -> sqlalchemy.URL:
    """Return a URL of SQLAlchemy, which has several hosts in its query."""
    url = sqlalchemy.make_url(split_hosts(text)[0]).set(drivername=drivername)
    servers = list_servers(text)
    if len(servers) == 1:
        return url
    hosts = [f"{host}:{port}" for host, port in servers]
    login = url.username, url.password
    query = {**url.difference_update_query(["port"]).query, "host": hosts}
    return sqlalchemy.URL.create(drivername, *login, database=url.database, query=query)
