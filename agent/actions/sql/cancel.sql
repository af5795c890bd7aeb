-- In one statement with what it is bound to: between a look and a signal a pid may pass to another session.
SELECT pg_cancel_backend(pid) AS signalled
FROM pg_stat_activity
WHERE pid = %(pid)s
  AND backend_start = %(backend_start)s::timestamptz
  AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = usesysid AND rolsuper)
