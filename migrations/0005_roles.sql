-- What each service may do. These roles can't log in. The operator grants them to the login of the service
-- (`create role gateway login password '...' in role connector_details_gateway`), or `worker migrate` does.
--
-- Roles belong to the server and not to a database: they may exist already, or another migration may create
-- them at the same time.
do $$
begin
    create role connector_details_gateway nologin;
exception when duplicate_object or unique_violation then
    null;
end
$$;
do $$
begin
    create role connector_details_worker nologin;
exception when duplicate_object or unique_violation then
    null;
end
$$;

-- The gateway reads, and can't write.
grant select on connector_details, connector_details_ledger to connector_details_gateway;

-- The worker writes records, and appends to the ledger. It can't change a row of the ledger, delete one
-- except through connector_details_prune, or alter the schema.
grant select, insert, update, delete on connector_details to connector_details_worker;
grant select, insert on connector_details_ledger to connector_details_worker;
grant select, insert, delete on connector_details_outbox to connector_details_worker;
grant select, insert, update, delete on connector_details_heartbeat to connector_details_worker;
grant select, insert, update, delete on connector_details_redelivered to connector_details_worker;
grant usage on sequence connector_details_redeliveries to connector_details_worker;
grant execute on function connector_details_prune to connector_details_worker;
