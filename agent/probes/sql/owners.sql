-- Who holds the connections.
SELECT coalesce(usename, '')::text AS "user",
       coalesce(datname, '')::text AS database,
       coalesce(application_name, '') AS application,
       coalesce(host(client_addr), 'local') AS client,
       coalesce(state, 'unknown') AS state,
       count(*)::int AS count
FROM pg_stat_activity
WHERE backend_type = 'client backend'
GROUP BY 1, 2, 3, 4, 5
ORDER BY count DESC, 1, 2, 3, 4, 5
LIMIT 200
