//! Runs the statements of a batch and rolls them back. This checks whether the database accepts them, and
//! stores nothing.

use sqlx::{Connection as _, PgConnection};

use super::{change, error::StoreError, input::inputs, locked, redelivered, save};
use crate::change::Change;

/// Succeeds if the database can apply the batch. An error that concerns single commands, such as a locked
/// record or refused content, is not an outage, so it is not an error here.
pub(super) async fn rehearse(
    connection: &mut PgConnection,
    changes: &[Change],
) -> sqlx::Result<()> {
    let mut changes: Vec<&Change> = changes.iter().collect();
    changes.sort_unstable_by_key(|change| change.command.key());
    while !changes.is_empty() {
        let error = match run_and_roll_back(connection, &changes).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match StoreError::from(error) {
            StoreError::Locked(_) => {
                // If the whole table is locked, this statement fails too.
                let inputs = inputs(changes.iter().copied());
                let places = locked::locked(connection, &inputs).await?;
                if places.is_empty() {
                    return Ok(());
                }
                let mut place = 0;
                changes.retain(|_| {
                    place += 1;
                    !places.contains(&place)
                });
            }
            StoreError::Transient(error) => return Err(error),
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// If this future is cancelled, its caller drops the connection, and Postgres rolls the transaction back.
async fn run_and_roll_back(connection: &mut PgConnection, changes: &[&Change]) -> sqlx::Result<()> {
    let (plain, others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.is_plain());
    let mut transaction = connection.begin().await?;
    let result = async {
        if let Some(change) = changes.first() {
            redelivered::remember(&mut transaction, change).await?;
        }
        save::save(&mut transaction, &inputs(plain.into_iter())).await?;
        change::change(&mut transaction, &inputs(others.into_iter())).await
    };
    let result = result.await.map(drop);
    transaction.rollback().await?;
    result
}
