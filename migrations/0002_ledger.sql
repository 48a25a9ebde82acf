-- The ledger: one row with the outcome of every command. It makes a command take effect at most once, and
-- it is the history of every record. The statement that changes a record writes the row of the ledger, too.
-- Rows are never changed, and deleted only by connector_details_prune.

-- An enum and not a check constraint: a constraint that fails prints the row to the log.
create type connector_details_outcome as enum ('saved', 'deleted', 'conflict');

create table connector_details_ledger (
    catalog_guid text collate "C" not null,
    -- A redelivered or repeated command finds its row by this id.
    command_id text collate "C" not null,
    -- SHA-256 of the validated and masked fields: the same id with other content is a conflict.
    fingerprint bytea not null,
    kind connector_details_outcome not null default 'saved',

    -- The record as this command left it, so that a repeated command gets the same answer, whatever was
    -- saved later. Null: there was no record to delete, or none with the expected revision.
    record_id uuid,
    revision bigint not null,
    integration_pack_instance_id text collate "C" not null,
    process_id text collate "C" not null,
    env_id text collate "C" not null,
    connection_id text collate "C" not null,
    is_token_generated boolean,
    oauth_connector_details text,
    client_id text,
    -- Who changed the record last, and when: before a deletion, or before a conflict.
    previous_updated_at timestamptz,
    previous_updated_by text,

    decided_at timestamptz not null,
    updated_by text,
    -- The publishing service and its trace, as the message named them.
    source text,
    traceparent text,

    -- A command id is unique in its Space.
    primary key (catalog_guid, command_id)
);

-- The history of a record, newest first. A conflict is not part of it.
create index connector_details_ledger_record
    on connector_details_ledger (record_id, revision)
    where kind <> 'conflict';

-- When a record was deleted, by its ids: `worker replay` asks whether a parked command is older. Deletions
-- are rare, so that the index is small.
create index connector_details_ledger_deletions on connector_details_ledger
    (catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id, decided_at)
    where kind = 'deleted' and record_id is not null;

-- Where the old rows are: rows are only appended, so that a summary of each range of pages is enough.
create index connector_details_ledger_age on connector_details_ledger
    using brin (decided_at) with (autosummarize = on);
