-- The outbox: one row for each statement that changed records, until the broker has confirmed their events.
-- After a crash the next worker publishes what is left, in the same order.

create table connector_details_outbox (
    -- The order of publishing. A record is in one statement at a time, so that its events have the order of
    -- its revisions.
    seq bigint generated always as identity primary key,
    -- The rows of the ledger.
    catalog_guids text[] collate "C" not null,
    command_ids text[] collate "C" not null,
    -- The ledger is not pruned from this time on.
    decided_at timestamptz not null default now()
)
-- The table is filled and emptied all the time, and small: it has to be vacuumed by the number of rows.
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
