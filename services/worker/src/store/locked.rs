//! The query for records that another transaction has locked.

use sqlx::PgConnection;

use super::input::Input;

/// The positions, counted from 1, of the changes whose record exists and is locked by another transaction. A
/// record that another transaction has inserted but not committed is not visible, so it is not included.
pub(super) async fn locked(
    connection: &mut PgConnection,
    changes: &[Input<'_>],
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"
        with found as materialized (
            select i.ordinality, t.id
            from unnest($1::connector_details_input[]) with ordinality i
            cross join lateral (
                select id from connector_details t
                where (
                    t.catalog_guid, t.integration_pack_instance_id, t.process_id, t.env_id,
                    t.connection_id
                ) = (
                    i.catalog_guid, i.integration_pack_instance_id, i.process_id, i.env_id,
                    i.connection_id
                )
                -- Keeps the planner from making a join of it: see `save`.
                offset 0
            ) t
        ),
        free as materialized (
            select id from connector_details
            where id = any (array(select id from found))
            for update skip locked
        )
        select ordinality as "place!" from found where id <> all (array(select id from free))
        "#,
        changes as _,
    )
    .fetch_all(connection)
    .await
}
