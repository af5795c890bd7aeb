"""Makes sessions of PostgreSQL wait for one another."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg

from tests.lab.postgres import Postgres
from tests.lab.waiting import until


def prepared(server: Postgres) -> Postgres:
    """Make the role app and its table stock of two rows; return the server."""
    with contextlib.closing(server.connect(autocommit=True)) as session:
        session.execute("CREATE ROLE app LOGIN")
        session.execute("CREATE TABLE stock (id int PRIMARY KEY, count int)")
        session.execute("GRANT ALL ON stock TO app")
        session.execute("INSERT INTO stock VALUES (1, 1), (2, 2)")
    return server


@contextlib.contextmanager
def row_lock_chain(server: Postgres, victims: int) -> Iterator[int]:
    """A session holds a row, idle in its transaction; others wait to write it. Gives the holder's pid."""
    with contextlib.closing(server.connect("app", application_name="leaky")) as holder:
        holder.execute("UPDATE stock SET count = count WHERE id = 1")
        waiting = [server.connect("app", application_name=f"victim{number}") for number in range(victims)]
        threads = [threading.Thread(target=_wait_for_row, args=(session,), daemon=True) for session in waiting]
        for thread in threads:
            thread.start()
        with contextlib.closing(server.connect(autocommit=True)) as watcher:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            until("all victims wait", lambda: watcher.execute(query).fetchone() == (victims,))
        try:
            yield holder.info.backend_pid
        finally:
            holder.rollback()
            for thread, session in zip(threads, waiting, strict=True):
                thread.join(10)
                session.close()


def _wait_for_row(session: psycopg.Connection) -> None:
    session.execute("UPDATE stock SET count = count WHERE id = 1")
    session.rollback()
