-- Client sessions that are doing, or holding, something; the oldest transactions first. The idle ones are only counted.
SELECT pid,
       backend_start,
       coalesce(usename, '')::text AS "user",
       coalesce(datname, '')::text AS database,
       coalesce(application_name, '') AS application,
       coalesce(host(client_addr) || ':' || client_port, 'local') AS client,
       state,
       greatest(0, extract(epoch FROM clock_timestamp() - state_change))::float8 AS state_seconds,
       greatest(0, extract(epoch FROM clock_timestamp() - coalesce(xact_start, clock_timestamp())))::float8
           AS transaction_seconds,
       greatest(0, extract(epoch FROM clock_timestamp() - coalesce(query_start, clock_timestamp())))::float8
           AS query_seconds,
       coalesce(wait_event_type || '/' || wait_event, '') AS wait_event,
       coalesce(query, '') AS query
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'
ORDER BY xact_start NULLS LAST, pid
LIMIT 300
