//! Unit tests of the order of locked commands.

use super::*;

const LOCKED: bool = true;
const BEHIND: bool = false;

/// Each command is its delivery tag, with the hashes of its record and id, and the reason why it waits.
fn locked_commands(commands: &[(u64, KeyHashes, bool)]) -> LockedCommands<u64> {
    let mut locked_commands = LockedCommands::default();
    for (tag, hashes, locked) in commands {
        locked_commands.push(*tag, *hashes, *tag, *locked);
    }
    locked_commands
}

fn still_locked(commands: &[(u64, KeyHashes)]) -> Vec<(u64, KeyHashes, u64)> {
    let commands = commands.iter();
    commands
        .map(|(tag, hashes)| (*tag, *hashes, *tag))
        .collect()
}

#[test]
fn an_attempt_has_one_command_of_a_record_and_the_others_keep_their_order() {
    let mut commands = locked_commands(&[
        (1, [1, 101], LOCKED),
        (2, [2, 102], LOCKED),
        (3, [1, 103], BEHIND),
        (4, [1, 104], BEHIND),
        (5, [2, 105], BEHIND),
    ]);

    assert_eq!(commands.start_attempt(10), [1, 2]);
    let free = commands.finish_attempt(still_locked(&[(2, [2, 102])]));

    assert_eq!(free, [3, 4], "record 1 is free now");
    assert!(!commands.is_empty());
    assert_eq!(commands.start_attempt(10), [2]);
    assert_eq!(commands.finish_attempt(Vec::new()), [5]);
    assert!(commands.is_empty());
}

#[test]
fn a_command_waits_behind_the_same_id_and_others_wait_behind_its_record() {
    let mut commands = locked_commands(&[
        (1, [1, 101], LOCKED),
        (2, [2, 101], BEHIND),
        (3, [2, 102], BEHIND),
    ]);

    assert!(commands.overlaps(1000, [3, 101]) && commands.overlaps(1000, [2, 103]));
    assert!(!commands.overlaps(1000, [3, 103]));
    assert_eq!(commands.start_attempt(10), [1]);
    assert!(
        commands
            .finish_attempt(still_locked(&[(1, [1, 101])]))
            .is_empty()
    );
    assert_eq!(commands.start_attempt(10), [1]);
    assert_eq!(commands.finish_attempt(Vec::new()), [2, 3]);
}

#[test]
fn a_new_command_waits_behind_a_command_in_the_current_attempt() {
    let mut commands = locked_commands(&[(1, [1, 101], LOCKED)]);

    commands.start_attempt(10);
    assert!(commands.overlaps(1000, [1, 102]));
    commands.push(2, [1, 102], 2, BEHIND);
    assert!(
        commands
            .finish_attempt(still_locked(&[(1, [1, 101])]))
            .is_empty()
    );
    assert_eq!(commands.start_attempt(10), [1]);
    assert_eq!(commands.finish_attempt(Vec::new()), [2]);
    assert!(!commands.overlaps(1000, [1, 103]));
}

#[test]
fn a_command_found_locked_during_an_attempt_waits_with_those_behind_it() {
    let mut commands = locked_commands(&[(1, [1, 101], LOCKED)]);

    assert_eq!(commands.start_attempt(10), [1]);
    commands.push(2, [2, 102], 2, LOCKED);
    commands.push(3, [2, 103], 3, BEHIND);
    commands.push(4, [1, 104], 4, BEHIND);

    assert_eq!(commands.finish_attempt(Vec::new()), [4]);
    assert!(commands.overlaps(1000, [2, 105]));
    assert_eq!(commands.start_attempt(10), [2]);
    assert_eq!(commands.finish_attempt(Vec::new()), [3]);
    assert!(commands.is_empty());
}

#[test]
fn a_command_behind_a_locked_one_of_its_batch_needs_no_attempt_of_its_own() {
    let mut commands = locked_commands(&[
        (1, [1, 101], LOCKED),
        (2, [1, 102], LOCKED),
        (3, [1, 103], LOCKED),
    ]);

    assert_eq!(commands.start_attempt(10), [1]);
    assert_eq!(commands.finish_attempt(Vec::new()), [2, 3]);
}

#[test]
fn attempts_follow_the_order_of_delivery_not_the_order_of_adding() {
    // Command 3 arrived while 2 was in a batch. It waits behind 1, which has the same id. Then 2 was found
    // locked.
    let mut commands = locked_commands(&[
        (1, [1, 101], LOCKED),
        (3, [2, 101], BEHIND),
        (2, [2, 102], LOCKED),
    ]);

    assert_eq!(commands.start_attempt(10), [1, 2]);
    assert!(
        commands
            .finish_attempt(still_locked(&[(2, [2, 102])]))
            .is_empty()
    );
    assert_eq!(commands.start_attempt(10), [2]);
    assert_eq!(commands.finish_attempt(Vec::new()), [3]);
}

#[test]
fn commands_beyond_the_limit_of_an_attempt_are_in_a_later_one() {
    let mut commands = locked_commands(&[
        (1, [1, 101], LOCKED),
        (2, [2, 102], LOCKED),
        (3, [2, 103], BEHIND),
    ]);

    assert_eq!(commands.start_attempt(1), [1]);
    assert!(
        commands
            .finish_attempt(still_locked(&[(1, [1, 101])]))
            .is_empty()
    );
    assert_eq!(
        commands.start_attempt(1),
        [2],
        "command 1 was in the last attempt"
    );
    assert_eq!(commands.finish_attempt(Vec::new()), [3]);
    assert_eq!(commands.start_attempt(1), [1]);
}

#[test]
fn commands_wait_behind_a_reserved_place_until_its_command_has_an_outcome() {
    let mut commands = LockedCommands::default();
    commands.reserve([[1, 101], [1, 102]]);
    assert!(commands.overlaps(1000, [1, 103]) && !commands.overlaps(1000, [2, 103]));

    commands.push(10, [1, 103], 103, BEHIND);
    assert!(commands.start_attempt(10).is_empty());
    assert!(commands.finish_attempt(Vec::new()).is_empty());

    // The commands arrive in another order than that of their places.
    assert_eq!(commands.take_reserved([1, 102]), Some(1));
    commands.push(1, [1, 102], 102, BEHIND);
    assert!(commands.start_attempt(10).is_empty());
    assert!(commands.finish_attempt(Vec::new()).is_empty());
    assert_eq!(commands.take_reserved([1, 101]), Some(0));
    commands.push(0, [1, 101], 101, BEHIND);

    assert_eq!(commands.start_attempt(10), [101]);
    assert_eq!(commands.finish_attempt(Vec::new()), [102, 103]);
    assert!(commands.is_empty());
}

#[test]
fn released_places_delay_no_command() {
    let mut commands = LockedCommands::default();
    commands.reserve([[1, 101]]);
    commands.push(10, [1, 103], 103, BEHIND);
    commands.release_reserved();

    assert_eq!(commands.take_reserved([1, 101]), None);
    assert_eq!(commands.start_attempt(10), [103]);
    assert!(commands.finish_attempt(Vec::new()).is_empty());
    assert!(commands.is_empty() && !commands.overlaps(1000, [1, 104]));

    commands.reserve([[2, 201]]);
    commands.release_reserved();
    assert!(!commands.overlaps(1000, [2, 202]));
}

#[test]
fn a_command_does_not_wait_behind_a_later_one() {
    let commands = locked_commands(&[(60, [3, 101], LOCKED)]);

    assert!(commands.overlaps(70, [2, 101]));
    assert!(!commands.overlaps(50, [2, 101]));
}
