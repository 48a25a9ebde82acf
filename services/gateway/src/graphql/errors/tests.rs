//! Unit tests of the errors of commands.

use super::*;

fn message(error: ApiError) -> String {
    let errors = error.errors();
    errors.into_iter().map(|error| error.message).collect()
}

#[test]
fn a_pending_or_unknown_deletion_is_not_called_a_save() -> Result<(), CommandError> {
    let id = CommandId::new("an-id")?;
    for (kind, called, not_called) in [
        (Kind::Save, "save", "deletion"),
        (Kind::Delete, "deletion", "save"),
    ] {
        for error in [
            ApiError::Pending(kind, id.clone()),
            ApiError::Unknown(kind, id.clone()),
        ] {
            let message = message(error);
            assert!(
                message.contains(&format!("the {called} was accepted"))
                    || message.contains(&format!("The {called} was accepted")),
                "{message}"
            );
            assert!(!message.contains(not_called), "{message}");
        }
    }
    Ok(())
}

#[test]
fn an_error_without_an_outcome_names_the_command_and_may_be_retried() -> Result<(), CommandError> {
    let id = CommandId::new("an-id")?;
    let errors = ApiError::Pending(Kind::Save, id).errors();
    let extensions = errors.first().and_then(|error| error.extensions.as_ref());
    let value = |name| extensions.and_then(|it| it.get(name)).cloned();

    assert_eq!(value("code"), Some(Value::from("SAVE_PENDING")));
    assert_eq!(value("commandId"), Some(Value::from("an-id")));
    assert_eq!(value("retryable"), Some(Value::from(true)));
    Ok(())
}

#[test]
fn a_refused_command_may_be_retried_only_if_it_expired() -> Result<(), CommandError> {
    let id = CommandId::new("an-id")?;
    for (error, retryable, is_named) in [
        (CommandError::internal(), false, true),
        (CommandError::expired(), true, true),
        (CommandError::conflict(), false, false),
        (CommandError::forbidden(), false, false),
    ] {
        let errors = ApiError::Refused(vec![error], id.clone()).errors();
        let extensions = errors.first().and_then(|error| error.extensions.as_ref());
        let value = |name| extensions.and_then(|it| it.get(name)).cloned();

        assert_eq!(value("retryable"), Some(Value::from(retryable)));
        let named = is_named.then(|| Value::from("an-id"));
        assert_eq!(value("commandId"), named);
    }
    Ok(())
}

#[test]
fn an_expired_command_is_not_reported_as_an_error_of_a_field() -> Result<(), CommandError> {
    let id = CommandId::new("an-id")?;
    let errors = ApiError::Refused(vec![CommandError::expired()], id).errors();
    let error = errors.first();
    let extensions = error.and_then(|error| error.extensions.as_ref());

    assert!(extensions.is_some_and(|it| it.get("field").is_none()));
    assert!(error.is_some_and(|error| error.message == EXPIRED));
    Ok(())
}

#[test]
fn a_command_that_was_not_sent_in_time_may_be_repeated() {
    let errors = ApiError::TooLate(Kind::Delete).errors();
    let error = errors.first();
    let extensions = error.and_then(|error| error.extensions.as_ref());
    let value = |name| extensions.and_then(|it| it.get(name)).cloned();

    assert!(error.is_some_and(|error| error.message.contains("this deletion was sent")));
    assert_eq!(value("code"), Some(Value::from("SERVICE_UNAVAILABLE")));
    assert_eq!(value("retryable"), Some(Value::from(true)));
}

#[test]
fn all_errors_of_a_command_are_reported_with_their_fields() {
    let errors = ApiError::Invalid(vec![
        CommandError::value("envId", "must not be blank"),
        CommandError::value("processId", "must not be blank"),
    ])
    .errors();
    let fields: Vec<_> = errors
        .iter()
        .filter_map(|error| error.extensions.as_ref()?.get("field").cloned())
        .collect();

    assert_eq!(fields, [Value::from("envId"), Value::from("processId")]);
}
