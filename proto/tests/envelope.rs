//! The properties of a command's message.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proptest::prelude::*;
use proto::{Envelope, Kind};

fn with_header(name: &str, value: &str) -> Envelope {
    with_headers(&[(name, value)])
}

fn with_headers(headers: &[(&str, &str)]) -> Envelope {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    Envelope::read(&BasicProperties::default().with_headers(table))
}

#[test]
fn a_blank_property_counts_as_missing() {
    for blank in [" ", "\u{a0}\u{2003}"] {
        let properties = BasicProperties::default()
            .with_user_id(blank.into())
            .with_app_id("billing".into());

        assert_eq!(with_header("x-subject", blank).subject, None);
        assert_eq!(Envelope::read(&properties).updated_by(), Some("billing"));
    }
    assert_eq!(with_header("x-subject", " ann").updated_by(), Some(" ann"));
}

#[test]
fn a_trace_context_that_is_malformed_or_too_long_is_dropped() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let state = |bytes: usize| {
        let state = "s".repeat(bytes);
        with_headers(&[("traceparent", parent), ("tracestate", &state)]).tracestate
    };

    assert_eq!(
        with_header("traceparent", parent).traceparent.as_deref(),
        Some(parent)
    );
    assert_eq!(with_header("traceparent", "00-abc").traceparent, None);
    assert_eq!(state(512).map(|state| state.len()), Some(512));
    assert_eq!(state(513), None);
    assert_eq!(with_header("tracestate", "vendor=1").tracestate, None);
}

#[test]
fn a_parked_copy_has_no_expiration_priority_encoding_or_reply_address() {
    let envelope = Envelope::read(
        &BasicProperties::default()
            .with_message_id("c".into())
            .with_priority(9)
            .with_content_encoding("gzip".into())
            .with_expiration("1000".into())
            .with_reply_to("ipack.reply.mine".into()),
    );

    let parked = proto::amqp::parked::properties(&envelope, &proto::CommandError::internal(), 0);

    assert_eq!(
        (envelope.priority, envelope.content_encoding.as_deref()),
        (Some(9), Some("gzip"))
    );
    assert_eq!(*parked.priority(), None);
    assert_eq!(*parked.expiration(), None, "the copy would expire");
    assert_eq!(*parked.content_encoding(), None);
    assert_eq!(*parked.reply_to(), None);
}

#[test]
fn only_reply_queues_of_the_contract_are_accepted() {
    let reply_to = |name: &str| {
        let properties = BasicProperties::default().with_reply_to(name.into());
        Envelope::read(&properties).reply_to
    };

    for name in ["amq.rabbitmq.reply-to.g1h2AA", "ipack.reply.mine"] {
        assert_eq!(reply_to(name).as_deref(), Some(name));
    }
    for name in [
        "",
        "ipack.reply.",
        "ipack.connector-details.v1",
        "amq.rabbitmq.reply-to",
        "mine",
    ] {
        assert_eq!(reply_to(name), None);
    }
}

proptest! {
    #[test]
    fn reading_written_properties_gives_the_same_envelope(
        id in "[a-z0-9-]{1,255}",
        subject in proptest::option::of("[a-z@.]{1,255}"),
        app in proptest::option::of("[a-z]{1,20}"),
    ) {
        let envelope = Envelope {
            subject,
            app_id: app,
            correlation_id: Some("7".to_owned()),
            reply_to: Some("ipack.reply.mine".to_owned()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..Envelope::of(Kind::Save, proto::CommandId::new(id).map_err(|error| TestCaseError::fail(error.message))?)
        };

        prop_assert_eq!(Envelope::read(&envelope.properties()), envelope);
    }
}
