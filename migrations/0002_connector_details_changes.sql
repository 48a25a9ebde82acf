-- The ledger of decided commands: what makes a command take effect at most once, and the history
-- of every record. It is written by the same statement as the row, and never changed.

create table connector_details_changes (
    catalog_guid text collate "C" not null,
    -- A redelivered or repeated command finds itself here.
    command_id text collate "C" not null,
    -- SHA-256 of the validated, masked fields: the same id with other content is a conflict.
    fingerprint bytea not null,

    -- The record as this command left it, so that a repeat is answered the same, whatever was
    -- saved after it.
    record_id uuid not null,
    revision bigint not null,
    integration_pack_instance_id text collate "C" not null,
    process_id text collate "C" not null,
    env_id text collate "C" not null,
    connection_id text collate "C" not null,
    is_token_generated boolean not null,
    oauth_connector_details text not null,
    client_id text not null,

    decided_at timestamptz not null,
    updated_by text,
    -- The publishing service and its trace, by its own word.
    source text,
    traceparent text,

    -- The ids of one Space mean nothing in another.
    primary key (catalog_guid, command_id)
);
