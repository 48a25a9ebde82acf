//! The statement for deletions, and for saves that expect a revision.

use proto::ledger::{LedgerEntry, LedgerRow};
use sqlx::PgConnection;

use super::{input::Input, ledger::entries};

/// Deletes records, and saves records that have the expected revision. A command whose expected revision is
/// wrong gets the outcome `conflict` in the ledger.
///
/// The revisions are compared in the snapshot of the statement. Another worker can change one of the records
/// after the snapshot only if it has processed these commands too, because the broker delivers them first. In
/// that case the unique key of the ledger makes this statement fail, and the worker runs it again.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub(super) async fn change(
    connection: &mut PgConnection,
    changes: &[Input<'_>],
) -> sqlx::Result<Vec<LedgerEntry>> {
    let rows = sqlx::query_as!(
        LedgerRow,
        r#"
        with fresh as materialized (
            select i.*
            from unnest($1::connector_details_input[]) i
            where (
                select c.revision from connector_details_ledger c
                where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            ) is null
        ),
        seen as materialized (
            select
                f.*, t.id as seen_id, coalesce(t.revision, 0) as seen_revision,
                t.updated_at as seen_updated_at, t.updated_by as seen_updated_by,
                t.is_token_generated as seen_is_token_generated,
                t.oauth_connector_details as seen_oauth_connector_details,
                t.client_id as seen_client_id,
                f.expected_revision is null or f.expected_revision = coalesce(t.revision, 0)
                    as is_expected
            from fresh f
            left join lateral (
                select * from connector_details t
                where (
                    t.catalog_guid, t.integration_pack_instance_id, t.process_id, t.env_id,
                    t.connection_id
                ) = (
                    f.catalog_guid, f.integration_pack_instance_id, f.process_id, f.env_id,
                    f.connection_id
                )
                -- Keeps the planner from making a join of it: see `save`.
                offset 0
            ) t on true
        ),
        saved as (
            insert into connector_details as t (
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, last_command_id, updated_by
            )
            select
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, command_id, updated_by
            from seen
            where kind = 'saved' and is_expected
            on conflict on constraint connector_details_key do update set
                is_token_generated = excluded.is_token_generated,
                oauth_connector_details = excluded.oauth_connector_details,
                client_id = excluded.client_id,
                revision = t.revision + 1,
                last_command_id = excluded.last_command_id,
                updated_at = excluded.updated_at,
                updated_by = excluded.updated_by
            returning t.*
        ),
        deleted as (
            delete from connector_details
            where id = any (
                array(select seen_id from seen where kind = 'deleted' and is_expected)
            )
        ),
        logged as (
            insert into connector_details_ledger (
                catalog_guid, command_id, fingerprint, record_id, revision,
                integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id,
                decided_at, updated_by, source, traceparent,
                kind, previous_updated_at, previous_updated_by
            )
            select
                n.catalog_guid, n.command_id, n.fingerprint, coalesce(s.id, n.seen_id),
                case
                    when s.id is not null then s.revision
                    when n.is_expected and n.seen_id is not null then n.seen_revision + 1
                    else n.seen_revision
                end,
                n.integration_pack_instance_id, n.process_id, n.env_id, n.connection_id,
                coalesce(s.is_token_generated, n.seen_is_token_generated),
                coalesce(s.oauth_connector_details, n.seen_oauth_connector_details),
                coalesce(s.client_id, n.seen_client_id),
                coalesce(s.updated_at, now()), n.updated_by, n.source, n.traceparent,
                case when n.is_expected then n.kind else 'conflict' end
                    ::connector_details_outcome,
                n.seen_updated_at, n.seen_updated_by
            from seen n
            left join saved s
                on (s.catalog_guid, s.last_command_id) = (n.catalog_guid, n.command_id)
            returning *
        ),
        outbox as (
            insert into connector_details_outbox (catalog_guids, command_ids)
            select array_agg(catalog_guid), array_agg(command_id) from logged
            where kind <> 'conflict' and record_id is not null
            having count(*) > 0
        )
        select
            kind::text as "kind!", command_id, fingerprint, record_id, revision, catalog_guid,
            integration_pack_instance_id, process_id, env_id, connection_id, is_token_generated,
            oauth_connector_details, client_id, decided_at, updated_by, previous_updated_at,
            previous_updated_by
        from logged
        "#,
        changes as _,
    )
    .fetch_all(connection)
    .await?;
    entries(rows)
}
