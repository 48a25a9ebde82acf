-- What the worker needs beside the tables of records.

-- A command as the worker passes it; a batch is one array of these. An array for each column took Postgres
-- longer to unnest than it took to write a single save.
create type connector_details_input as (
    kind text,
    expected_revision bigint,
    command_id text collate "C",
    fingerprint bytea,
    catalog_guid text collate "C",
    integration_pack_instance_id text collate "C",
    process_id text collate "C",
    env_id text collate "C",
    connection_id text collate "C",
    is_token_generated boolean,
    oauth_connector_details text,
    client_id text,
    updated_by text,
    source text,
    traceparent text
);

-- The running workers: one row for each, written every few seconds. A database that can be read and not
-- written (read-only, full, a standby) fails this statement, and so a worker notices it. Operators see
-- which workers run, and which of them is active.
create table connector_details_heartbeat (
    host text collate "C" not null,
    pid integer not null,
    version text not null,
    started_at timestamptz not null default now(),
    -- When this row was written last. Rows older than a day are deleted.
    at timestamptz not null default now(),
    -- When the worker last decided a command. Null: it stands by, or there was no command.
    decided_at timestamptz,
    primary key (host, pid)
)
-- Each update finds room on its page, and writes to no index.
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Redelivered commands that went back to the broker although they come before others in the order of the
-- queue. The broker delivers such a message behind the others that went back before. So this table has their
-- order, and a later command for the same record waits for them.
create sequence connector_details_redeliveries;

create table connector_details_redelivered (
    catalog_guid text collate "C" not null,
    command_id text collate "C" not null,
    integration_pack_instance_id text collate "C" not null,
    process_id text collate "C" not null,
    env_id text collate "C" not null,
    connection_id text collate "C" not null,
    first_delivery bigint not null default nextval('connector_details_redeliveries'),
    last_delivery bigint not null default currval('connector_details_redeliveries'),
    -- How often the command was about to go back.
    deliveries integer not null default 1,
    -- When it was last about to go back.
    at timestamptz not null default now(),
    primary key (catalog_guid, command_id)
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Deletes some rows of the ledger that are older than the retention: such a command is forgotten, and would
-- be decided again if it came again. The worker may not delete from the ledger; through this function it
-- can delete nothing that is younger than a day, or whose events are not published.
create function connector_details_prune(older_than interval, at_most integer) returns bigint
language plpgsql security definer as $$
declare
    pruned bigint;
    keep_from timestamptz;
begin
    -- One worker at a time; the lock ends with the transaction.
    if not pg_try_advisory_xact_lock(x'636f6e707275'::bigint) then
        return 0;
    end if;
    select least(now() - greatest(older_than, interval '1 day'), min(decided_at))
        into keep_from from connector_details_outbox;
    -- By ctid and not by key: a join might read the whole ledger, and its rows never move.
    delete from connector_details_ledger
    where ctid = any (array(
        select ctid from connector_details_ledger where decided_at < keep_from limit at_most
    ));
    get diagnostics pruned = row_count;
    return pruned;
end
$$;

revoke execute on function connector_details_prune from public;

-- A function with the rights of its owner must not find a temporary table of its caller under the name of
-- one of these tables: without `pg_temp` at the end of its search path temporary tables come first, and
-- code of the caller would run as the owner.
do $$
begin
    execute format(
        'alter function connector_details_prune(interval, integer) set search_path = %I, pg_temp',
        current_schema()
    );
end
$$;
