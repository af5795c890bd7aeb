"""The sample web application: a shop with orders in PostgreSQL and a cart in Redis."""

import asyncio
import contextlib
import os
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import psycopg
import redis
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

ENVIRONMENT = dict(os.environ)  # noqa: TID251 this program's rim
DATABASE_DSN = ENVIRONMENT["DATABASE_DSN"]
REDIS_URL = ENVIRONMENT["REDIS_URL"]
POOL_SIZE = int(ENVIRONMENT.get("POOL_SIZE", "5"))
RELEASE = ENVIRONMENT.get("RELEASE", "unknown")
REQUEST_WAIT = float(ENVIRONMENT.get("POOL_WAIT", "30"))
CHECK_WAIT = 0.8

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, item text NOT NULL, touched int NOT NULL DEFAULT 0);
INSERT INTO orders SELECT n, 'item ' || n FROM generate_series(1, 20) AS n ON CONFLICT DO NOTHING;
"""


class Pool:
    """At most `size` connections, opened when first needed, replaced when broken."""

    def __init__(self, dsn: str, size: int) -> None:
        self.dsn = dsn
        self.slots: queue.LifoQueue[psycopg.Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self.slots.put(None)

    @contextlib.contextmanager
    def connection(self, wait: float) -> Iterator[psycopg.Connection]:
        """Lend a connection; TimeoutError when all are out for `wait` seconds."""
        try:
            slot = self.slots.get(timeout=wait)
        except queue.Empty:
            raise TimeoutError from None
        try:
            if slot is None or slot.closed:
                slot = psycopg.connect(self.dsn, connect_timeout=3, application_name="orders", autocommit=True)
            yield slot
        finally:
            self.slots.put(slot)

    def close(self) -> None:
        while not self.slots.empty():
            if slot := self.slots.get():
                slot.close()


pool = Pool(DATABASE_DSN, POOL_SIZE)
cart_store = redis.Redis.from_url(REDIS_URL, socket_timeout=CHECK_WAIT, retry=None, decode_responses=True)
# Health checks have threads of their own, so that requests waiting for the pool cannot silence them.
checkers = ThreadPoolExecutor(max_workers=POOL_SIZE + 2, thread_name_prefix="health")


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = 200
    with contextlib.suppress(psycopg.Error, TimeoutError), pool.connection(CHECK_WAIT) as connection:
        connection.execute(SCHEMA)
    yield
    checkers.shutdown(wait=False, cancel_futures=True)
    pool.close()
    cart_store.close()


app = FastAPI(title="orders", version=RELEASE, lifespan=lifespan)


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok", "release": RELEASE}


@app.get("/health/ready")
async def ready() -> JSONResponse:
    database, cart = await asyncio.gather(outcome(check_database), outcome(cart_store.ping))
    checks = {"database": database, "redis": cart}
    healthy = set(checks.values()) == {"ok"}
    return JSONResponse({"status": "ok" if healthy else "failing", "checks": checks}, 200 if healthy else 503)


def check_database() -> None:
    with pool.connection(CHECK_WAIT) as connection:
        connection.execute("SELECT 1")


async def outcome(check: Callable[[], Any]) -> str:
    """Return "ok", "timeout", or the first line of what went wrong."""
    try:
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(checkers, check), CHECK_WAIT + 0.1)
    except (TimeoutError, redis.TimeoutError):
        return "timeout"
    except (psycopg.Error, redis.RedisError) as failed:
        return (str(failed).splitlines() or [type(failed).__name__])[0]
    return "ok"


@app.get("/orders")
def list_orders() -> list[dict[str, Any]]:
    with request_connection() as connection:
        rows = connection.execute("SELECT id, item, touched FROM orders ORDER BY id").fetchall()
    return [{"id": number, "item": item, "touched": touched} for number, item, touched in rows]


@app.post("/orders/{number}/touch")
def touch(number: int) -> dict[str, int]:
    """Update one row: waits while another session holds it, and keeps its connection while it waits."""
    with request_connection() as connection:
        row = connection.execute(
            "UPDATE orders SET touched = touched + 1 WHERE id = %s RETURNING touched", (number,)
        ).fetchone()
    if row is None:
        raise HTTPException(404, f"no order {number}")
    return {"id": number, "touched": row[0]}


@contextlib.contextmanager
def request_connection() -> Iterator[psycopg.Connection]:
    try:
        with pool.connection(REQUEST_WAIT) as connection:
            yield connection
    except TimeoutError:
        raise HTTPException(503, "no database connection") from None
    except psycopg.Error as failed:
        raise HTTPException(500, type(failed).__name__) from failed


@app.get("/cart")
def cart() -> dict[str, int]:
    try:
        return {"visits": int(cart_store.incr("cart:visits"))}
    except redis.RedisError as failed:
        raise HTTPException(503, type(failed).__name__) from failed
