-- A change as the worker hands it over; a batch is one array of these. Before, it was an array for each
-- column, which took Postgres longer to take apart than it took to write a lone save.
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
