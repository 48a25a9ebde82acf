-- The workers that run: one row for each, written every few seconds. A database that can be read and
-- not written - read-only, full, a standby - fails this statement, and that is how a worker notices.
-- For operators it tells which workers there are, and which of them decides commands.
create table connector_details_heartbeat (
    host text collate "C" not null,
    pid integer not null,
    version text not null,
    started_at timestamptz not null default now(),
    -- When this row was written last. Rows older than a day are deleted.
    at timestamptz not null default now(),
    -- When the worker last decided a command. Null: it stands by, or there was nothing to decide.
    decided_at timestamptz,
    primary key (host, pid)
)
-- Each update finds room on the page, and touches no index.
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

grant select, insert, update, delete on connector_details_heartbeat to connector_details_worker;
