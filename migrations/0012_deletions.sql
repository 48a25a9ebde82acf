-- When a record was deleted, by its ids: `worker replay` asks whether a parked command is older. There
-- are few deletions, so the index is small.
create index connector_details_changes_deletions on connector_details_changes
    (catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id, decided_at)
    where kind = 'deleted' and record_id is not null;
