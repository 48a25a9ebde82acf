-- The ledger grows by a row for each command. What is older than a retention may go: such a command is
-- forgotten, and would be decided again if it came again.

-- The ledger is appended to, so its pages are in the order of time: a few bytes for each stretch of
-- them tell where the old ones are.
create index connector_details_changes_age on connector_details_changes
    using brin (decided_at) with (autosummarize = on);

-- Takes some of the rows that are older. The worker has no right to delete from the ledger, and this
-- gives it none to what is younger than a day, nor to what is still to be announced.
create function connector_details_prune(older_than interval, at_most integer) returns bigint
language plpgsql security definer set search_path from current as $$
declare
    pruned bigint;
begin
    -- One worker at a time; the lock goes with the statement.
    if not pg_try_advisory_xact_lock(x'636f6e707275'::bigint) then
        return 0;
    end if;
    -- By their places and not by their names: a join might read all of the ledger, and a row of it
    -- never moves.
    delete from connector_details_changes
    where ctid = any (array(
        select c.ctid
        from connector_details_changes c
        where c.decided_at < now() - greatest(older_than, interval '1 day')
            and not exists (
                select from connector_details_outbox o
                where (o.catalog_guid, o.command_id) = (c.catalog_guid, c.command_id)
            )
        limit at_most
    ));
    get diagnostics pruned = row_count;
    return pruned;
end
$$;

revoke execute on function connector_details_prune from public;
grant execute on function connector_details_prune to connector_details_worker;
