-- A Space's records, in the order of their ids, filtered by each of them and by the token flag: a page
-- begins where the one before ended and is read from an index, however many records there are. The
-- order without a filter, and by Integration Pack instance, is connector_details_key's.
--
-- Ids never change, so an update of a record touches none of these; but for the flag's, where it does.

create index connector_details_by_process on connector_details
    (catalog_guid, process_id, integration_pack_instance_id, env_id, connection_id);
create index connector_details_by_env on connector_details
    (catalog_guid, env_id, integration_pack_instance_id, process_id, connection_id);
create index connector_details_by_connection on connector_details
    (catalog_guid, connection_id, integration_pack_instance_id, process_id, env_id);
create index connector_details_by_token on connector_details
    (catalog_guid, is_token_generated, integration_pack_instance_id, process_id, env_id, connection_id);
