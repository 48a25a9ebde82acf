-- A function that runs with its owner's rights must not meet a temporary table of its caller where it
-- means one of ours: without `pg_temp` at the end of its search path, temporary tables and views come
-- first, and code of the caller's would run as the owner. The path is fixed, too: the one that was
-- current when the function was made may have held schemas that others can write to.
do $$
begin
    execute format(
        'alter function connector_details_prune(interval, integer) set search_path = %I, pg_temp',
        current_schema()
    );
end
$$;
