//! The list of cases. Each is an `async fn` that takes the combination to run in.

use std::future::Future;
use std::pin::Pin;

use tests::fixture::Fixture;

/// Cases for every combination.
macro_rules! everywhere {
    ($callback:ident $arguments:tt) => {
        $callback! { $arguments
            nothing_to_say
            values_of_every_type
            bodies_of_every_size
            large_bodies
            large_bodies_after_many_small_calls
            borrowed_and_owned_bytes
            text_of_every_kind
            optional_arguments
            tuples_and_records
            results_as_values
            sixteen_arguments
            errors_of_the_service
            sixty_four_at_once
            a_thousand_at_once
            replies_in_any_order
            one_way_calls_in_order
            two_services_on_one_connection
            the_handler_sees_the_deadline
            a_deadline_passes_on_both_sides
            many_deadlines_at_once
            a_deadline_that_has_passed
            one_way_calls_above_the_limit_wait
            blocking_methods
            panics
            panics_beside_other_calls
            a_service_that_is_not_there
            a_program_of_another_age
            bodies_above_the_limit
            refused_on_connect
            let_in_with_a_token
            on_connect_panics
            pings
            large_bodies_both_ways_at_once
            large_calls_given_up_halfway
            small_calls_beside_large_ones
            a_slow_handler_holds_its_callers_back
            answers_wait_for_a_slow_reader
            many_connections_at_once
            sections_of_every_size
            sections_of_every_type
            sections_that_were_not_allocated
            sections_kept_beyond_their_call
            sections_sent_again_and_back
            sections_answered_where_they_are
            sections_in_one_way_calls
            many_sections_at_once
            sections_above_what_one_message_takes
            a_budget_that_is_used_up
            memory_that_is_waited_for
            memory_that_both_sides_write
            traffic_is_counted
        }
    };
}

/// Cases that need a server which several clients reach.
macro_rules! shared {
    ($callback:ident $arguments:tt) => {
        $callback! { $arguments
            a_large_one_way_call_arrives
            the_limit_of_calls_in_flight
            the_deadline_of_a_call_that_waits_for_room
            what_a_handler_knows
            denied_by_allow
            the_limit_of_connections
            the_rundown_comes_once_and_last
            connecting_again_and_again
            connecting_while_the_server_starts
            a_server_that_shuts_down_drains
            a_drain_has_an_end
        }
    };
}

/// Cases that only a future can show: one that is dropped, say.
macro_rules! awaiting {
    ($callback:ident $arguments:tt) => {
        $callback! { $arguments
            nothing_before_the_first_poll
            news_while_a_batch_is_served
            a_call_that_was_polled_is_waited_for
            a_dropped_call_is_cancelled
            calls_dropped_at_every_poll
            sections_of_calls_that_are_dropped
        }
    };
}

/// Those of them that need a server which several clients reach.
macro_rules! awaiting_shared {
    ($callback:ident $arguments:tt) => {
        $callback! { $arguments
            a_call_that_waits_for_room_is_dropped
        }
    };
}

/// Cases that need a server in a process of its own, at an endpoint.
macro_rules! processes {
    ($callback:ident $arguments:tt) => {
        $callback! { $arguments
            served_by_another_process
            the_server_is_killed
            the_client_is_killed
        }
    };
}

type Case = fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! entries {
    ([] $($case:ident)*) => {
        &[$((stringify!($case), |fixture| Box::pin($case(fixture)))),*]
    };
}

/// All cases with their names.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, Case)> {
    use crate::bodies::*;
    use crate::calls::*;
    use crate::connections::*;
    use crate::failures::*;
    use crate::loads::*;
    use crate::sections::*;
    use crate::times::*;
    let groups: [&'static [(&'static str, Case)]; 5] = [
        everywhere!(entries []),
        shared!(entries []),
        awaiting!(entries []),
        awaiting_shared!(entries []),
        processes!(entries []),
    ];
    groups.into_iter().flatten().copied()
}

/// The README names each case, with a word about it, and nothing else.
#[test]
fn the_readme_lists_the_cases() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme
        .split_once("## The cases")
        .expect("the README has the section");
    let section = section.split("\n## ").next().expect("a split has a first part");
    let listed = section
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "));
    let listed: Vec<_> = listed
        .inspect(|(name, about)| assert!(!about.is_empty(), "{name}"))
        .map(|(name, _)| name)
        .collect();
    let known: Vec<_> = all().map(|(name, _)| name).collect();
    assert_eq!(
        listed, known,
        "the list in tests/README.md and the one in list.rs differ"
    );
}
