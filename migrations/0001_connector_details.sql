-- The current state of every connector: one row for each record, as the last save left it.

create table connector_details (
    -- Given by the first save and kept by all that follow.
    id uuid primary key default gen_random_uuid(),

    -- The five ids that identify a record. "C" compares bytes: ids are opaque, and an index that
    -- depends on the operating system's language rules can be broken by an upgrade of it. At most
    -- 255 bytes each (checked at the door), so that the five fit an index entry's 2,704.
    catalog_guid text collate "C" not null,
    integration_pack_instance_id text collate "C" not null,
    process_id text collate "C" not null,
    env_id text collate "C" not null,
    connection_id text collate "C" not null,

    is_token_generated boolean not null,
    -- Text and not jsonb: what was typed comes back byte for byte, and jsonb reorders keys.
    oauth_connector_details text not null,
    client_id text not null,
    -- No statement can put anything else here, and there is no parameter that a log could show:
    -- Postgres refuses every other value, without printing it.
    client_secret text not null generated always as ('dummyClientSecret') stored,

    -- 1 at the first save, one more with each that took effect.
    revision bigint not null default 1,
    -- The command that left the row as it is.
    last_command_id text collate "C" not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    updated_by text,

    constraint connector_details_key
        unique (catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id)
)
-- Room for the next version of a row on its own page: an update then touches no index.
with (fillfactor = 80);
