//! Unit tests of pending replies.

use proto::Outcome;

use super::*;

fn command_id(text: &str) -> anyhow::Result<CommandId> {
    CommandId::new(text).map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn reply(command_id: Option<&str>) -> Reply {
    Reply {
        command_id: command_id.map(ToOwned::to_owned),
        outcome: Outcome::Deleted { record: None },
    }
}

#[tokio::test]
async fn a_reply_is_accepted_only_for_the_command_that_it_names() -> anyhow::Result<()> {
    let replies = PendingReplies::default();
    let mut pending = replies.register(command_id("mine")?);

    for foreign in [Some("another"), None] {
        assert_eq!(
            replies.deliver(pending.id, reply(foreign)),
            Err(OtherCommand)
        );
    }
    assert_eq!(replies.deliver(pending.id + 1, reply(Some("mine"))), Ok(()));
    assert!(pending.result.try_recv().is_err(), "the wait goes on");
    assert_eq!(replies.deliver(pending.id, reply(Some("mine"))), Ok(()));

    let result = pending.wait(Instant::now()).await;
    assert!(matches!(result, SendResult::Replied(_)), "{result:?}");
    Ok(())
}

#[tokio::test]
async fn a_lost_connection_ends_the_wait_and_the_confirm_decides_the_result() -> anyhow::Result<()>
{
    let replies = PendingReplies::default();
    let mut unconfirmed = replies.register(command_id("a")?);
    let mut confirmed = replies.register(command_id("b")?);
    confirmed.slot.confirm();

    replies.fail_all();

    let result = unconfirmed.wait(Instant::now()).await;
    assert!(matches!(result, SendResult::Unconfirmed), "{result:?}");
    let result = confirmed.wait(Instant::now()).await;
    assert!(matches!(result, SendResult::Confirmed), "{result:?}");
    Ok(())
}

#[tokio::test]
async fn only_the_first_result_counts() -> anyhow::Result<()> {
    let replies = PendingReplies::default();
    let mut pending = replies.register(command_id("a")?);

    pending.slot.finish(SendResult::QueueFull);
    pending.slot.finish(SendResult::NotSent);
    pending.slot.lose();

    assert!(pending.slot.is_abandoned());
    let result = pending.wait(Instant::now()).await;
    assert!(matches!(result, SendResult::QueueFull), "{result:?}");
    Ok(())
}

#[test]
fn a_dropped_request_is_not_pending_any_more() -> anyhow::Result<()> {
    let replies = PendingReplies::default();
    let pending = replies.register(command_id("a")?);
    let slot = pending.slot.clone();
    assert_eq!((replies.count(), slot.is_abandoned()), (1, false));

    drop(pending);

    assert_eq!((replies.count(), slot.is_abandoned()), (0, true));
    Ok(())
}
