"""Scratch: what the committed terminate_session does in cases its own tests do not have. Prints what it sees."""
import contextlib, threading, time
import psycopg
from fleetmedic.v1.action_pb2 import Action, TerminateSession
from tests.lab.waiting import until
from tests.scenarios.actions.test_terminate_session import (
    FREE, REASON, UPDATE, LOGIN, PERMITTED, operator, server, session, there, waiters, waiting)
from tests.scenarios.actions import operating


def say(*words):
        print(*words, file=f)


def asked(operator, action=FREE):
    a = operator.asked(action, reason=REASON)
    return (a.plan.plan.summary, [(e.name, e.does) for e in a.plan.plan.effects]) if a.HasField("plan") else ("REFUSED", a.refusal.reason)


def test_1_savepoint_root_keeps_its_locks_after_the_cancel(operator, server):
    with session(server) as root:
        root.execute(UPDATE)

        def work():
            try:
                with root.transaction():
                    root.execute("SELECT pg_sleep(30)")
            except psycopg.errors.QueryCanceled:
                pass
        t = threading.Thread(target=work, daemon=True); t.start()
        with waiting(server, UPDATE) as victim:
            ended = operator.apply(operator.plan(FREE, reason=REASON))
            time.sleep(0.5)
            say(1, "state", ended.state, ended.result, "| still waiting:", waiters(server), victim)
            t.join(5); root.rollback()


def test_2_statement_loop(operator, server):
    """A root whose client goes on with the next statement in new transactions after the cancel."""
    stop = threading.Event(); alive = []
    with session(server, autocommit=True) as root:
        def work():
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                root.execute("BEGIN; UPDATE stock SET count=count WHERE id=1; SELECT pg_sleep(30)")
            root.execute("ROLLBACK")
            try:
                while not stop.is_set():
                    root.execute("SELECT pg_sleep(0.7)")
            except psycopg.Error as e:
                alive.append(type(e).__name__)
        t = threading.Thread(target=work, daemon=True); t.start()
        time.sleep(0.3)
        with waiting(server, UPDATE) as victim:
            ended = operator.apply(operator.plan(FREE, reason=REASON))
            say(2, ended.state, ended.result, "victim", victim, "client saw", alive)
        stop.set(); t.join(5)


def test_3_session_level_advisory_lock_of_an_idle_session(operator, server):
    with session(server, autocommit=True) as root:
        root.execute("SELECT pg_advisory_lock(7)")
        with waiting(server, "SELECT pg_advisory_lock(7)"):
            say(3, asked(operator))
            root.execute("SELECT pg_advisory_unlock(7)")


def test_4_wait_of_a_moment(operator, server):
    with session(server) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE):
            say(4, "waited for ms:", asked(operator)); root.rollback()


def test_5_queue_and_a_row_waiter(operator, server):
    with session(server) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE) as row, waiting(server, "ALTER TABLE stock ADD note text") as change, waiting(server, "SELECT * FROM stock") as behind:
            ended = operator.apply(operator.plan(FREE, reason=REASON)); time.sleep(0.5)
            say(5, ended.result, "| row waiter", row, "change", change, "behind", behind, "waiters", waiters(server))
            root.rollback()


def test_6_two_changes_in_a_queue(operator, server):
    with session(server, application_name="reader") as root:
        root.execute("SELECT * FROM stock")
        with waiting(server, "ALTER TABLE stock ADD n1 text"), waiting(server, "ALTER TABLE stock ADD n2 text"), waiting(server, "SELECT * FROM stock"):
            say(6, "reader is", root.info.backend_pid, asked(operator)); root.rollback()


def test_7_more_victims(operator, server):
    with session(server) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE):
            plan = operator.plan(FREE, reason=REASON)
            with waiting(server, UPDATE), waiting(server, UPDATE):
                a = operator.applied(plan)
                say(7, "1 victim -> 3:", a.refusal.reason or "applied")
                root.rollback()


def test_8_noinherit(folder, server):
    with contextlib.closing(server.connect(autocommit=True)) as o:
        o.execute("CREATE ROLE outer1 LOGIN NOINHERIT"); o.execute("GRANT pg_monitor, pg_signal_backend TO outer1")
        o.execute("CREATE ROLE inherits LOGIN")
        if o.info.server_version >= 160000:
            o.execute("GRANT pg_monitor TO inherits"); o.execute("GRANT pg_signal_backend TO inherits WITH INHERIT FALSE")
        say(8, "server", o.info.server_version)
    for role in ("outer1", "inherits"):
        config = LOGIN.replace("{sockets}", str(server.sockets)).replace('"fleetmedic"', f'"{role}"') + PERMITTED
        with operating.working(folder / role, config) as operator, session(server) as root:
            root.execute(UPDATE)
            with waiting(server, UPDATE):
                a = operator.asked(FREE)
                say(8, role, a.refusal.reason or operator.apply(a.plan.plan).result)
                root.rollback()


def test_9_named_with_a_start_beyond_all_time(operator, server):
    with session(server) as root:
        root.execute(UPDATE)
        named = TerminateSession(service="orders-db")
        named.sessions.add(pid=root.info.backend_pid).backend_start.seconds = 2**60
        say(9, asked(operator, Action(terminate_session=named))); root.rollback()


def test_a_circle(operator, server):
    with contextlib.closing(server.connect(autocommit=True)) as o:
        o.execute("ALTER SYSTEM SET deadlock_timeout = '60s'"); o.execute("SELECT pg_reload_conf()")
    time.sleep(0.3)
    with session(server) as a, session(server) as b:
        a.execute(UPDATE); b.execute("UPDATE stock SET count=count WHERE id=2")
        ts = []
        for c, i in ((a, 2), (b, 1)):
            def w(c=c, i=i):
                with contextlib.suppress(psycopg.Error):
                    c.execute(f"UPDATE stock SET count=count WHERE id={i}")
            t = threading.Thread(target=w, daemon=True); t.start(); ts.append(t)
        until("both wait", lambda: waiters(server) == 2)
        say("a", asked(operator))
        a.cancel_safe()
        for t in ts: t.join(5)
    with contextlib.closing(server.connect(autocommit=True)) as o:
        o.execute("ALTER SYSTEM RESET ALL"); o.execute("SELECT pg_reload_conf()")


def test_b_prepared(operator, server):
    say("b", "max_prepared is 0 in the lab: not tried")


def test_c_text_of_another_encoding(operator, server):
    with contextlib.closing(server.connect(autocommit=True)) as o:
        o.execute("CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with session(server, dbname="raw") as odd, session(server) as root:
        odd.pgconn.exec_(b"BEGIN; SELECT '\xff\xfe' AS \"\xff\"")
        root.execute(UPDATE)
        with waiting(server, UPDATE):
            say("c", asked(operator)); root.rollback()


def test_d_idle_again_before_the_cancel(operator, server):
    """Named: an idle session that was never in a transaction."""
    with session(server, autocommit=True) as quiet:
        quiet.execute("SELECT 1")
        named = TerminateSession(service="orders-db")
        row = quiet.execute("SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
        named.sessions.add(pid=quiet.info.backend_pid).backend_start.FromDatetime(row[0])
        say("d", asked(operator, Action(terminate_session=named)))
