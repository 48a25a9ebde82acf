//! Unit tests of how replies are grouped into messages.

use lapin::types::ShortString;
use proto::{CommandError, Record};
use time::OffsetDateTime;

use super::*;

/// The envelope of a command that asks for a reply.
fn envelope(reply_to: &str, correlation_id: &str, pack_replies: bool) -> Envelope {
    Envelope {
        reply_to: Some(reply_to.to_owned()),
        correlation_id: Some(correlation_id.to_owned()),
        pack_replies,
        ..Envelope::default()
    }
}

fn refused() -> Outcome {
    Outcome::refused(CommandError::forbidden())
}

fn saved(details_bytes: usize) -> Outcome {
    Outcome::Saved {
        record: Record {
            id: "id".to_owned(),
            integration_pack_instance_id: "i".to_owned(),
            is_token_generated: false,
            oauth_connector_details: "x".repeat(details_bytes),
            process_id: "p".to_owned(),
            env_id: "e".to_owned(),
            connection_id: "c".to_owned(),
            catalog_guid: "g".to_owned(),
            client_id: "x".to_owned(),
            revision: 1,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            updated_by: None,
        },
    }
}

/// The messages for these replies, after they went through the queue.
fn messages_of(replies: Vec<(Envelope, Outcome)>) -> Vec<Message> {
    let (sender, mut waiting) = channel();
    for (envelope, outcome) in replies {
        sender.send(&envelope, outcome);
    }
    messages(std::iter::from_fn(|| waiting.try_recv().ok()))
}

/// The queue and the number of replies of each message, sorted.
fn sizes(messages: &[Message]) -> Vec<(&str, usize)> {
    let mut sizes: Vec<_> = messages.iter().map(|it| (it.to(), it.len())).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn replies_that_may_share_a_message_are_grouped_by_their_queue() {
    let messages = messages_of(vec![
        (envelope("a", "1", true), refused()),
        (envelope("b", "2", true), refused()),
        (envelope("a", "3", true), refused()),
        (envelope("a", "4", false), refused()),
    ]);

    assert_eq!(sizes(&messages), [("a", 1), ("a", 2), ("b", 1)]);
}

#[test]
fn a_shared_message_has_a_limit_in_bytes() {
    let reply = || (envelope("a", "1", true), saved(MAX_BATCHED_BYTES / 2 + 1));

    let messages = messages_of(vec![reply(), reply(), reply()]);

    assert_eq!(sizes(&messages), [("a", 1), ("a", 2)]);
}

#[test]
fn a_single_reply_has_its_correlation_id_as_a_property() {
    let messages = messages_of(vec![
        (envelope("a", "1", false), refused()),
        (envelope("a", "2", true), refused()),
    ]);

    let properties: Vec<_> = messages.iter().map(Message::properties).collect();
    let ids: Vec<_> = properties
        .iter()
        .map(|it| it.correlation_id().as_ref().map(ShortString::as_str))
        .collect();
    assert_eq!(ids, [Some("1"), None]);
}

#[test]
fn a_command_without_a_reply_queue_gets_no_reply() {
    let messages = messages_of(vec![(Envelope::default(), refused())]);

    assert!(messages.is_empty());
}

#[test]
fn replies_over_the_limit_in_bytes_are_dropped() {
    let reply = || (envelope("a", "1", false), saved(MAX_WAITING_BYTES / 2));

    let messages = messages_of(vec![reply(), reply()]);

    assert_eq!(messages.len(), 1);
}

#[test]
fn a_body_that_cannot_be_serialised_gives_none() {
    let not_json = HashMap::from([((1, 2), 3)]);

    assert!(encode(&not_json).is_none());
    assert!(encode(&refused()).is_some());
}
