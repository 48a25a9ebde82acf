-- A row of the outbox for each statement, and not for each change: one row in and one out, with its
-- index, for hundreds of changes. A worker of the version before, which may still run, goes on writing
-- a row for each change, and its rows are announced like the others.

alter table connector_details_outbox
    alter column catalog_guid drop not null,
    alter column command_id drop not null,
    add column catalog_guids text[] collate "C",
    add column command_ids text[] collate "C",
    add constraint connector_details_outbox_either check (
        num_nulls(catalog_guid, command_id) = 0 and num_nulls(catalog_guids, command_ids) = 2
        or num_nulls(catalog_guid, command_id) = 2 and num_nulls(catalog_guids, command_ids) = 0
    ),
    -- When its statement decided; of rows from before, not known. The ledger is not pruned up to here.
    add column decided_at timestamptz not null default '-infinity';

alter table connector_details_outbox
    alter column decided_at set default now();

create or replace function connector_details_prune(older_than interval, at_most integer) returns bigint
language plpgsql security definer set search_path from current as $$
declare
    pruned bigint;
    keep_from timestamptz;
begin
    -- One worker at a time; the lock goes with the statement.
    if not pg_try_advisory_xact_lock(x'636f6e707275'::bigint) then
        return 0;
    end if;
    -- What is not announced yet is still to be read.
    select least(now() - greatest(older_than, interval '1 day'), min(decided_at))
        into keep_from from connector_details_outbox;
    -- By their places and not by their names: a join might read all of the ledger, and a row of it
    -- never moves.
    delete from connector_details_changes
    where ctid = any (array(
        select ctid from connector_details_changes where decided_at < keep_from limit at_most
    ));
    get diagnostics pruned = row_count;
    return pruned;
end
$$;
