//! No request and no message may stop the others.
//!
//! Each test attacks its own stack, and checks the answers to the attack. It also checks that other clients
//! are not affected: a client with another subject, Space and record saves all the time and is answered
//! within two seconds, and no process is restarted ([`tests::bystander`]). The tests run one after the other.
//!
//! Three attacks affect all clients, so the other client has another limit:
//!
//! - `database::a_locked_record_delays_only_its_own_commands`: it is answered within five seconds.
//! - `database::a_database_without_writes_loses_no_command` and
//!   `parked::a_flood_of_invalid_commands_does_not_fill_the_worker`: its saves may be late or fail during
//!   the attack. After the attack they are answered within two seconds again.
//!
//! | attack | test |
//! |---|---|
//! | fragments that spread fragments | `documents::a_fragment_bomb_is_refused_at_once`, `documents::a_fragment_bomb_is_refused_by_both_subscription_endpoints` |
//! | saves hidden in fragments | `saves::saves_in_nested_fragments_are_counted_as_they_are_executed`, `saves::hidden_saves_are_charged_one_by_one` |
//! | brackets in comments and strings | `documents::nesting_is_counted_as_the_parser_sees_it` |
//! | details full of separators | `details::details_full_of_separators_cost_no_more_than_others`, `details::published_details_full_of_separators_cost_no_more_than_others` |
//! | slow headers and bodies, idle connections | `connections::slow_headers_time_out`, `connections::slow_bodies_of_one_bearer_occupy_no_slot`, `connections::slow_bodies_of_many_bearers_occupy_no_slot`, `connections::silent_connections_are_cheap_and_time_out` |
//! | large frames, idle sockets | `sockets::a_large_frame_is_refused_before_it_is_buffered`, `sockets::a_socket_without_connection_init_is_closed`, `sockets::the_number_of_sockets_is_limited` |
//! | many aliases of a large page | `requests::an_answer_is_bounded_before_it_is_read` |
//! | large variables of an operation that does not exist | `requests::variables_are_not_copied_for_an_unknown_operation` |
//! | many tokens, and rejected requests that should still count against the rate limits | `requests::every_request_is_charged_before_it_is_parsed` |
//! | a large `tracestate` | `requests::a_large_tracestate_does_not_close_the_broker_connection` |
//! | messages that no client library can read | `messages::messages_with_large_headers_affect_no_other_message`, `messages::messages_that_are_not_utf_8_affect_no_other_message`, `messages::messages_with_nested_headers_affect_no_other_message` |
//! | inspecting parked commands | `parked::inspecting_the_parking_queue_leaves_it_complete` |
//! | replaying a command that is older than the record | `parked::replay_does_not_undo_a_later_save_without_force` |
//! | many commands that must be parked | `parked::a_flood_of_invalid_commands_does_not_fill_the_worker`, `parked::parking_commands_delays_no_other_command` |
//! | `priority` | `parked::a_priority_is_refused_and_overtakes_nothing` |
//! | `expiration` | `parked::an_expired_command_is_parked_as_such_and_answered` |
//! | a database that takes no writes | `database::a_database_without_writes_loses_no_command` |
//! | a record that another transaction has locked | `database::a_locked_record_delays_only_its_own_commands` |
//! | a temporary table that hides the ledger | `database::a_temporary_table_gives_a_login_no_other_rights` |
//! | an invalid secret in a parked copy | `secrets::a_parked_copy_contains_no_secret_even_if_it_is_invalid` |
//! | a secret in another form or under another name | `secrets::a_submitted_secret_is_masked_in_every_form`, `secrets::a_secret_is_masked_under_every_known_name` |
//! | a computed command id | `identity::a_member_cannot_compute_the_command_id_of_another` |
//! | a forged reply | `identity::a_forged_reply_is_ignored` |
//! | an empty JWKS, a key for encryption | `identity::valid_keys_are_replaced_only_by_valid_keys` |
//! | `/health/ready` by many at once | `connections::readiness_requests_use_no_pool_connection` |

mod connections;
mod database;
mod details;
mod documents;
mod identity;
mod messages;
mod parked;
mod requests;
mod saves;
mod secrets;
mod sockets;
