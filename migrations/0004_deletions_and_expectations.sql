-- Records can be deleted, and a command can expect a revision. Both are decisions, and stand in the
-- ledger, so that a repeat is answered the same.

-- Not a check: one that fails prints the row to the log.
create type connector_details_decision as enum ('saved', 'deleted', 'conflict');

alter table connector_details_changes
    add column kind connector_details_decision not null default 'saved',
    -- The record before a deletion, or as a command found it that expected another revision.
    add column previous_updated_at timestamptz,
    add column previous_updated_by text,
    -- Nothing was there to delete, or to be of the expected revision.
    alter column record_id drop not null,
    alter column is_token_generated drop not null,
    alter column oauth_connector_details drop not null,
    alter column client_id drop not null;

-- The history of a record, newest first. A conflict is no part of it.
create index connector_details_changes_record
    on connector_details_changes (record_id, revision)
    where kind <> 'conflict';

grant delete on connector_details to connector_details_worker;
