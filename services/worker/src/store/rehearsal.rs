//! Runs the statements of a batch and takes them back: whether the database could take them, without
//! deciding anything.

use sqlx::{Connection as _, PgConnection};

use super::{change, error::StoreError, input::inputs, locked, save};
use crate::change::Change;

/// Ends well when the batch could be decided, apart from what is wrong with single commands: a locked
/// record, or content that the database refuses, is no outage.
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
                // Where nothing can be read either, this statement fails, too.
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

/// If it is given up half way, the connection is dropped, and the transaction ends with it.
async fn run_and_roll_back(connection: &mut PgConnection, changes: &[&Change]) -> sqlx::Result<()> {
    let (plain, others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.is_plain());
    let mut transaction = connection.begin().await?;
    let saved = save::save(&mut transaction, &inputs(plain.into_iter())).await;
    let result = match saved {
        Ok(_) => change::change(&mut transaction, &inputs(others.into_iter()))
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    transaction.rollback().await?;
    result
}
