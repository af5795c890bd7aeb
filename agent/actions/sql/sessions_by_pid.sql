-- Sessions by pid, with what forbids to end one, and whether our role may.
SELECT pid,
       backend_start,
       coalesce(backend_type, '') AS kind,
       coalesce(usename, '')::text AS "user",
       coalesce(application_name, '') AS application,
       coalesce(theirs.rolsuper, false) AS superuser,
       own.rolsuper OR pg_has_role(own.oid, 'pg_signal_backend', 'MEMBER') OR pg_has_role(own.oid, usesysid, 'MEMBER')
           AS may
FROM pg_stat_activity
JOIN pg_roles AS own ON own.rolname = current_user
LEFT JOIN pg_roles AS theirs ON theirs.oid = usesysid
WHERE pid = ANY (%(pids)s)
