-- The current state of every connector: one row for each record, as the last save left it.

create table connector_details (
    -- Set by the first save and kept by all later ones.
    id uuid primary key default gen_random_uuid(),

    -- The five ids that identify a record. Collation "C" compares bytes: ids are opaque, and an index
    -- that depends on the language rules of the operating system can be broken by an upgrade of it. The
    -- contract allows 255 bytes for each, so that the five fit into an index entry (2,704 bytes).
    catalog_guid text collate "C" not null,
    integration_pack_instance_id text collate "C" not null,
    process_id text collate "C" not null,
    env_id text collate "C" not null,
    connection_id text collate "C" not null,

    is_token_generated boolean not null,
    -- Text and not jsonb: the details are returned byte for byte, and jsonb reorders keys.
    oauth_connector_details text not null,
    client_id text not null,
    -- No statement can store another value here, and no parameter holds the secret, so that no log of
    -- the database can show it.
    client_secret text not null generated always as ('dummyClientSecret') stored,

    -- 1 after the first save, one more after each later one.
    revision bigint not null default 1,
    -- The command that wrote this revision.
    last_command_id text collate "C" not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    updated_by text,

    constraint connector_details_key
        unique (catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id)
)
-- Leaves room on each page for the next version of a row: an update then writes no index entry.
with (fillfactor = 80);

-- Lists: the records of a Space in the order of their ids, filtered by each id and by the token flag. A
-- page begins where the page before ended, and is read from an index however many records there are. The
-- order without a filter, and the one by Integration Pack instance, use connector_details_key.
--
-- Ids never change, so that an update writes to none of these indexes, except the last one when the flag
-- changes.
create index connector_details_by_process on connector_details
    (catalog_guid, process_id, integration_pack_instance_id, env_id, connection_id);
create index connector_details_by_env on connector_details
    (catalog_guid, env_id, integration_pack_instance_id, process_id, connection_id);
create index connector_details_by_connection on connector_details
    (catalog_guid, connection_id, integration_pack_instance_id, process_id, env_id);
create index connector_details_by_token on connector_details
    (catalog_guid, is_token_generated, integration_pack_instance_id, process_id, env_id, connection_id);
