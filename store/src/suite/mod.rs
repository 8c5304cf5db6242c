//! What every [`MailStore`] must do, as tests that a backend's author runs on it.
//!
//! Each test is a function named for what it checks, in the module of its area. [`backend_suite!`](crate::backend_suite) makes
//! tests of all of them:
//!
//! ```
//! use std::sync::Arc;
//!
//! use rmail_core::limits::Limits;
//! use rmail_store::MemoryStore;
//! use rmail_store::suite::{self, Backend};
//!
//! /// The store in memory.
//! struct Memory;
//!
//! impl Backend for Memory {
//!     type Store = MemoryStore;
//!
//!     fn open(&self, limits: Limits) -> Arc<MemoryStore> {
//!         Arc::new(MemoryStore::new(limits))
//!     }
//!
//!     fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
//!         futures_lite::future::block_on(future)
//!     }
//!
//!     fn together(&self, seed: u64, jobs: Vec<suite::Job<'_>>) {
//!         suite::interleaved(seed, jobs);
//!     }
//! }
//!
//! rmail_store::backend_suite!(Memory);
//! # fn main() {}
//! ```
//!
//! The last area, [`model`], is the strongest: the same operations, drawn from a seed, are done to the backend's store and to
//! a [`MemoryStore`](crate::MemoryStore), and after each of them both must show the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests, though other crates run them: a failure is a panic"
)]

pub mod accounts;
pub mod adding;
pub mod copying;
pub mod flagging;
pub mod limiting;
pub mod model;
pub mod naming;
pub mod numbering;
pub mod queueing;
pub mod reading;
pub mod replacing;
pub mod restarting;
pub mod returning;
pub mod sharing;
pub mod together;
pub mod watching;
mod words;

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use rmail_core::limits::Limits;
use rmail_core::random::Random;

use crate::mailstore::MailStore;
use crate::mem::exec::Exec;

/// How the suite gets stores of a backend, and runs operations on them.
pub trait Backend {
    /// The store.
    type Store: MailStore;

    /// A new, empty store that keeps to these limits; of them the suite relies on `last_uid` and `keywords`. It must be
    /// independent of all stores that were opened before.
    fn open(&self, limits: Limits) -> Arc<Self::Store>;

    /// The store after its process was killed and started again, with the same limits: what was answered must be there.
    /// Nobody uses the old one any more. `None`, the default: nothing outlives the process.
    fn restart(&self, store: Arc<Self::Store>, limits: Limits) -> Option<Arc<Self::Store>> {
        let _ = (store, limits);
        None
    }

    /// How often the tests of [`together`] and [`model`] run, each time with another seed: a store that is slow here may want
    /// fewer, a night's run more.
    fn seeds(&self) -> u64 {
        12
    }

    /// Runs a future to its end, on this thread.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Runs all of these at the same time, in a way in which their operations meet, and returns when all have ended. For a
    /// store whose futures wait for each other only, [`interleaved`]: every seed is another order. Otherwise a thread each.
    ///
    /// # Panics
    /// If one of them does.
    fn together(&self, seed: u64, jobs: Vec<Job<'_>>);
}

/// Something to do, begun on the thread that goes on with it.
pub type Job<'a> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send + 'a>;

/// Runs jobs on this thread, one poll at a time in an order drawn from the seed.
///
/// # Panics
/// If they wait for anything but each other.
pub fn interleaved(seed: u64, jobs: Vec<Job<'_>>) {
    let mut exec = Exec::new(random(seed));
    for job in jobs {
        exec.spawn(job());
    }
    assert_eq!(exec.run(), Ok(()), "operations wait for what never comes");
}

/// A generator for a seed.
fn random(seed: u64) -> Random {
    let mut octets = [0; 32];
    octets[..8].copy_from_slice(&seed.to_le_bytes());
    Random::from_seed(octets)
}

/// Makes `#[test]`s of the whole suite, in a module for each area, for the [`Backend`](crate::suite::Backend) that an
/// expression gives. The expression stands in those modules behind `use super::*`.
#[macro_export]
macro_rules! backend_suite {
    ($backend:expr) => {
        $crate::backend_suite! { @ $backend, accounts,
            a_new_account_has_the_default_mailboxes
            an_account_that_is_not_there_has_nothing
            delivery_and_create_make_the_account
            a_deleted_account_leaves_nothing_to_the_next_of_its_name
            deleting_an_account_twice_does_nothing
            accounts_do_not_see_each_other
            usage_is_the_octets_of_all_messages
        }
        $crate::backend_suite! { @ $backend, naming,
            create_makes_the_mailboxes_above
            names_differ_by_case_except_inbox
            names_of_any_script_and_length_are_kept
            a_name_that_is_taken_is_refused
            special_uses_are_kept
            the_list_is_in_the_order_of_names
            a_deleted_mailbox_is_gone_for_everybody
            a_deleted_mailbox_stays_as_a_level_above_its_children
            a_level_goes_with_its_last_child
            a_level_becomes_a_mailbox_again
            inbox_is_not_deleted
            rename_takes_the_tree_along
            rename_makes_the_mailboxes_above
            rename_of_a_level_takes_its_children_along
            rename_is_refused_where_it_cannot_be
            rename_to_names_that_are_none_changes_nothing
            rename_of_inbox_moves_its_messages_only
            subscriptions_are_names
        }
        $crate::backend_suite! { @ $backend, numbering,
            uids_ascend_and_are_not_used_again
            uid_next_is_what_comes_next_at_the_earliest
            uid_validity_is_the_mailboxs_own_and_ascends
            the_clock_may_go_back
            every_change_has_a_higher_modseq
            what_is_not_changed_keeps_its_modseq
            what_changes_nothing_has_no_modseq
            messages_of_an_append_share_a_modseq
            uids_run_out
            a_delivery_to_a_full_mailbox_reaches_nobody
        }
        $crate::backend_suite! { @ $backend, adding,
            append_keeps_what_it_is_given
            append_takes_the_time_where_none_is_given
            append_needs_a_mailbox
            several_messages_come_together_or_not_at_all
            delivery_reaches_each_account_once
            delivery_may_be_to_the_queue_alone
            bodies_of_any_size_and_octets_come_back
            a_body_that_is_dropped_leaves_nothing
        }
        $crate::backend_suite! { @ $backend, flagging,
            flags_are_replaced_added_and_removed
            keywords_are_compared_without_case_and_kept_as_first_seen
            keywords_of_any_legal_form_are_kept
            sixty_four_and_more_keywords_on_one_message
            too_many_keywords_change_nothing
            removing_a_keyword_needs_no_room_for_it
            messages_that_are_gone_are_left_out
            unchanged_since_protects_what_changed_later
            unchanged_since_counts_expunges_of_others_for_nothing
            a_mailbox_that_is_gone_takes_no_flags
        }
        $crate::backend_suite! { @ $backend, replacing,
            replace_puts_one_message_in_the_place_of_another
            replace_changes_nothing_where_it_cannot_be
            replace_needs_room_for_what_is_more
        }
        $crate::backend_suite! { @ $backend, copying,
            copy_keeps_what_belongs_to_the_message
            copy_leaves_the_source_alone
            copied_messages_keep_their_order
            messages_that_are_gone_are_not_copied
            copy_needs_a_target
            copy_into_the_same_mailbox_makes_second_ones
            keywords_find_their_place_in_the_target
            copy_is_all_or_nothing
            move_leaves_one_of_each
            move_within_a_mailbox_gives_new_uids
            move_that_is_refused_moves_nothing
            move_of_what_is_gone_moves_the_rest
            expunge_removes_what_is_deleted
            expunge_of_some_leaves_the_others
        }
        $crate::backend_suite! { @ $backend, limiting,
            append_keeps_to_the_quota
            copy_keeps_to_the_quota_and_move_needs_none
            a_delivery_is_refused_when_nobody_has_room
            what_is_removed_makes_room
            a_full_account_takes_what_needs_no_room
            has_room_says_what_append_will
            counting_anew_gives_the_same
        }
        $crate::backend_suite! { @ $backend, returning,
            what_vanished_is_told_to_who_comes_back
            what_is_told_of_one_snapshot_is_of_that_snapshot
            who_missed_nothing_is_told_nothing
            messages_keep_their_uids
            numbers_are_taken_whole_or_not_at_all
            a_mailbox_that_comes_back_has_its_uid_validity
            modseqs_go_on_above_what_was_known
        }
        $crate::backend_suite! { @ $backend, reading,
            a_snapshot_is_a_moment
            snapshots_are_the_same_until_something_changes
            a_snapshot_at_once_is_the_mailbox_now
            what_is_done_at_once_is_what_is_done_later
            status_counts_what_the_snapshot_shows
            recent_is_claimed_once
            recent_is_told_once
            looking_does_not_claim_recent
            a_selected_mailbox_keeps_its_identity
            what_is_not_there_is_not_opened
            an_open_message_outlives_its_mailbox
            reads_may_begin_and_end_anywhere
            what_is_kept_of_messages_is_of_those_messages
            housekeeping_changes_nothing_to_be_seen
        }
        $crate::backend_suite! { @ $backend, sharing,
            rights_are_given_and_taken
            a_list_belongs_to_its_mailbox
            annotations_are_kept_as_they_are
            annotations_belong_to_their_mailbox
            lists_and_annotations_go_with_their_account
            they_survive_a_kill
        }
        $crate::backend_suite! { @ $backend, watching,
            every_change_is_announced
            what_changes_nothing_need_not_be_announced_but_is_never_early
            the_end_of_a_mailbox_is_announced
            a_refused_operation_shows_nothing_new
            who_hears_looks_and_sees
            every_change_of_the_list_is_announced
        }
        $crate::backend_suite! { @ $backend, queueing,
            an_entry_lives_until_it_is_removed
            an_entry_is_replaced_whole
            delivery_and_queue_share_one_message
            entries_that_are_not_there_are_errors
            a_delivery_that_fails_queues_nothing
            ids_are_letters_and_digits
            who_looks_finds_all_entries_and_takes_none
        }
        $crate::backend_suite! { @ $backend, restarting,
            what_was_answered_survives_a_kill
            what_was_answered_survives_an_orderly_end
            numbers_go_on_after_a_kill
            the_queue_survives_a_kill
        }
        $crate::backend_suite! { @ $backend, together,
            appends_at_the_same_time_all_come
            visible_uids_ascend
            flags_of_many_are_not_lost
            one_of_two_conditional_changes_wins
            moves_to_and_fro_lose_nothing
            flags_given_during_a_move_go_along
            copies_and_expunges_meet
            one_of_two_creates_wins
            renames_and_deliveries_meet
            deletes_and_appends_meet
            a_watcher_ends_up_with_the_truth
            deliveries_to_crossing_recipients_all_come
            a_quota_holds_for_all_who_append
        }
        $crate::backend_suite! { @ $backend, model,
            does_what_the_store_in_memory_does
            does_so_in_few_mailboxes_with_many_messages
            does_so_with_many_mailboxes
        }
    };
    (@ $backend:expr, $area:ident, $($test:ident)*) => {
        mod $area {
            #[allow(unused_imports, reason = "the backend may be named by its whole path")]
            use super::*;

            $(
                #[test]
                fn $test() {
                    $crate::suite::$area::$test(&$backend);
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    /// A test that the macro does not name is run by nobody.
    #[test]
    fn the_macro_names_every_test_of_the_suite() {
        let sources = [
            include_str!("accounts.rs"),
            include_str!("adding.rs"),
            include_str!("copying.rs"),
            include_str!("flagging.rs"),
            include_str!("limiting.rs"),
            include_str!("model.rs"),
            include_str!("naming.rs"),
            include_str!("numbering.rs"),
            include_str!("queueing.rs"),
            include_str!("reading.rs"),
            include_str!("restarting.rs"),
            include_str!("returning.rs"),
            include_str!("sharing.rs"),
            include_str!("together.rs"),
            include_str!("watching.rs"),
        ];
        let mut count = 0;
        for line in sources.iter().flat_map(|source| source.lines()) {
            if let Some(rest) = line.strip_prefix("pub fn ") {
                let test = rest.split(['<', '(']).next().unwrap_or_default();
                let named = include_str!("mod.rs").lines().any(|line| line.trim() == test);
                assert!(named, "{test} is missing in backend_suite!");
                count += 1;
            }
        }
        assert!(count > 90, "{count}");
    }
}
