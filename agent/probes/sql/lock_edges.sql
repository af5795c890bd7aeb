-- Who waits for whom, as edges; the graph is made of them in Python (a recursive query explodes with the waiters).
-- pg_blocking_pids() is asked once, and only for sessions that wait on a lock. 0 stands for a prepared transaction.
WITH waiting AS MATERIALIZED (
    SELECT pid, state_change, pg_blocking_pids(pid) AS blockers
    FROM pg_stat_activity
    WHERE wait_event_type = 'Lock'
)
SELECT waiting.pid AS waiting,
       blocker AS blocking,
       greatest(0, extract(epoch FROM clock_timestamp() - coalesce(
           -- waitstart is there from version 14 on.
           (to_jsonb(wanted) ->> 'waitstart')::timestamptz, waiting.state_change)))::float8 AS waiting_seconds,
       coalesce(wanted.locktype, '') AS lock_type,
       coalesce(wanted.mode, '') AS mode,
       coalesce(named.relname, touched.relname, '')::text AS relation
FROM waiting
CROSS JOIN LATERAL unnest(waiting.blockers) AS blocker
LEFT JOIN LATERAL (SELECT * FROM pg_locks WHERE pid = waiting.pid AND NOT granted LIMIT 1) AS wanted ON true
LEFT JOIN pg_class AS named ON named.oid = wanted.relation
-- A wait for a transaction names no relation: the row lock the waiter already queues for does.
LEFT JOIN LATERAL (
    SELECT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE pid = waiting.pid AND locktype = 'tuple' AND granted LIMIT 1) AS touched ON true
LIMIT 50000
