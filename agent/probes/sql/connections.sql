-- Slots: how many there are, how many are kept back, how many are taken by clients.
SELECT current_setting('server_version') AS server_version,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int AS superuser_reserved,
       coalesce(current_setting('reserved_connections', true), '0')::int AS reserved,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS used,
       pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees_all,
       current_user::text AS role
