-- A session as it is now; no row where it has gone.
SELECT coalesce(state, '') AS state
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz
