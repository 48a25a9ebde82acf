-- Changes that are committed and not yet known to be announced. The statement that makes a change
-- writes its row; the row goes when the broker has confirmed the event. What a crash leaves behind is
-- announced by whoever comes next, in the old order.

create table connector_details_outbox (
    -- The order of the announcements. A record is in one statement at a time, so its own order is that
    -- of its revisions.
    seq bigint generated always as identity primary key,
    -- The decision, in the ledger.
    catalog_guid text collate "C" not null,
    command_id text collate "C" not null
)
-- It is filled and emptied all the time, and small: it has to be vacuumed by count.
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

grant select, insert, delete on connector_details_outbox to connector_details_worker;
