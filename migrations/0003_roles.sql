-- What each service may do. These roles can't log in: whoever deploys grants them to the login of
-- the service (`create role gateway login password '...' in role connector_details_gateway`).
--
-- Roles belong to the whole server and not to a database, so they may exist already, or be made
-- by another migration at this very moment.
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

-- The gateway reads. It can't write, whatever it is told to.
grant select on connector_details, connector_details_changes to connector_details_gateway;

-- The worker upserts rows and appends decisions. It can neither delete a row, nor change a
-- decision, nor alter the schema.
grant select, insert, update on connector_details to connector_details_worker;
grant select, insert on connector_details_changes to connector_details_worker;
