//! No request and no message may stop the others.
//!
//! Each test attacks a stack of its own, and proves beside what the attack itself has to be answered
//! with: a client with another subject, Space and record saves all the time and is answered within two
//! seconds, and no process is restarted ([`tests::bystander`]). They run one after the other.
//!
//! Three attacks concern everybody, and have another bound for that client:
//!
//! - `database::a_locked_record_delays_its_own_commands_alone`: it is answered within five seconds.
//! - `database::a_database_that_takes_no_writes_costs_no_command` and
//!   `parked::a_flood_of_what_has_to_be_parked_does_not_fill_the_worker`: its saves may be late or fail
//!   during the attack; after it they are answered within two seconds again.
//!
//! | attack | test |
//! |---|---|
//! | fragments that spread fragments | `documents::a_fragment_bomb_is_refused_at_once`, `documents::a_fragment_bomb_is_refused_by_both_endpoints_of_subscriptions` |
//! | saves hidden in fragments | `saves::saves_in_nested_fragments_are_counted_as_they_are_executed`, `saves::hidden_saves_are_charged_one_by_one` |
//! | brackets in comments and strings | `documents::nesting_is_counted_as_the_parser_sees_it` |
//! | details full of separators | `details::details_full_of_separators_cost_no_more_than_others`, `details::published_details_full_of_separators_cost_no_more_than_others` |
//! | slow headers and bodies, idle connections | `connections::headers_that_come_byte_by_byte_are_not_waited_for`, `connections::bodies_of_one_bearer_that_come_byte_by_byte_take_no_place`, `connections::bodies_of_many_bearers_that_come_byte_by_byte_take_no_place`, `connections::silent_connections_are_cheap_and_are_ended` |
//! | large frames, idle sockets | `sockets::a_large_frame_is_refused_before_it_is_buffered`, `sockets::who_never_introduces_itself_is_sent_away`, `sockets::sockets_are_as_many_as_there_may_be` |
//! | many aliases of a large page | `requests::an_answer_is_bounded_before_it_is_read` |
//! | large variables of an operation that is not there | `requests::variables_are_not_copied_for_an_operation_that_is_not_there` |
//! | many tokens, refusals that nobody charges | `requests::every_request_is_charged_before_it_is_parsed` |
//! | a large `tracestate` | `requests::a_large_tracestate_is_no_matter_to_the_broker` |
//! | messages that no library reads | `messages::messages_with_large_headers_affect_themselves_alone`, `messages::messages_that_are_not_utf_8_affect_themselves_alone`, `messages::messages_with_nested_headers_affect_themselves_alone` |
//! | looking at what is parked | `parked::who_looks_at_what_is_parked_leaves_all_of_it` |
//! | replaying what is older than the record | `parked::a_parked_command_undoes_no_later_save_unless_told_to` |
//! | much to be parked | `parked::a_flood_of_what_has_to_be_parked_does_not_fill_the_worker`, `parked::what_has_to_be_parked_delays_nobody` |
//! | `priority` | `parked::a_priority_is_refused_and_overtakes_nothing` |
//! | `expiration` | `parked::an_expired_command_is_parked_as_such_and_answered` |
//! | a database that takes no writes | `database::a_database_that_takes_no_writes_costs_no_command` |
//! | a record that somebody has locked | `database::a_locked_record_delays_its_own_commands_alone` |
//! | a temporary table in front of the ledger | `database::a_login_with_a_temporary_table_becomes_nobody_else` |
//! | an invalid secret in what is parked | `secrets::a_parked_copy_holds_no_secret_though_the_secret_is_invalid` |
//! | a secret in another form or under another name | `secrets::a_submitted_secret_is_found_in_every_form`, `secrets::a_secret_is_found_by_every_name` |
//! | a computed command id | `identity::nobody_can_compute_the_command_id_of_another_member` |
//! | a forged reply | `identity::a_forged_reply_answers_nobody` |
//! | an empty JWKS, a key for encryption | `identity::good_keys_are_replaced_by_good_ones_only` |
//! | `/health/ready` by many at once | `connections::who_asks_whether_the_gateway_is_ready_takes_no_connections` |

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
