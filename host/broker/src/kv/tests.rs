//! Quotas, versions, times, pages and what is to be written, on both sides of each bound.

use super::part::OVERHEAD_BYTES;
use super::*;
use crate::ports::kv::{Expect, KEY_BYTES, KvError, SCAN_BYTES, SCAN_ENTRIES, VALUE_BYTES};
use std::sync::atomic::AtomicUsize;

fn value(length: usize) -> Bytes {
    vec![7; length].into()
}

fn bounded(bytes: usize, keys: usize) -> Spaces {
    Spaces::tracked(KvBounds {
        bytes,
        keys,
        ..KvBounds::default()
    })
}

fn refused(spaces: &Spaces) -> u64 {
    let entry = spaces
        .entries()
        .into_iter()
        .find(|(name, ..)| *name == "plugin_kv_refused_total");
    entry.map_or(0, |(_, _, value)| value)
}

#[test]
fn bytes_are_bounded_on_both_sides() {
    let spaces = bounded(2 * (1 + 2 + OVERHEAD_BYTES), 10);
    let kv = spaces.space("p");
    assert_eq!(kv.put("a", value(2), Expect::Any, 0, 0), Ok(1));
    assert_eq!(
        kv.put("b", value(3), Expect::Any, 0, 0),
        Err(KvError::Bytes)
    );
    assert_eq!(refused(&spaces), 1);
    assert_eq!(kv.put("b", value(2), Expect::Any, 0, 0), Ok(1));
    assert_eq!(
        kv.put("a", value(2), Expect::Any, 0, 0),
        Ok(2),
        "replacing needs no room"
    );
    assert_eq!(
        kv.put("a", value(3), Expect::Any, 0, 0),
        Err(KvError::Bytes)
    );
    assert_eq!(
        spaces.space("q").put("a", value(9), Expect::Any, 0, 0),
        Ok(1),
        "each has its own"
    );
}

#[test]
fn keys_are_bounded_with_their_removals() {
    let spaces = bounded(1 << 20, 2);
    let kv = spaces.space("p");
    assert_eq!(kv.put("a", value(1), Expect::Any, 0, 0), Ok(1));
    assert_eq!(kv.increment("b", 1, 0), Ok(1));
    assert_eq!(kv.increment("c", 1, 0), Err(KvError::Keys));
    assert_eq!(kv.remove("a", Expect::Any, 0), Ok(true));
    assert_eq!(
        kv.increment("c", 1, 0),
        Err(KvError::Keys),
        "its removal is not written yet"
    );
    assert_eq!(
        kv.put("a", value(1), Expect::Absent, 0, 0),
        Ok(1),
        "the same key needs no room"
    );
    assert_eq!(kv.remove("a", Expect::Any, 0), Ok(true));
    assert_eq!(spaces.take_changes().len(), 2);
    assert_eq!(kv.increment("c", 1, 0), Ok(1));
}

#[test]
fn keys_and_values_have_a_length() {
    let spaces = bounded(1 << 20, 10);
    let kv = spaces.space("p");
    let long = "k".repeat(KEY_BYTES);
    assert_eq!(kv.put(&long, value(VALUE_BYTES), Expect::Any, 0, 0), Ok(1));
    let longer = "k".repeat(KEY_BYTES + 1);
    assert_eq!(
        kv.put(&longer, value(0), Expect::Any, 0, 0),
        Err(KvError::TooLarge)
    );
    assert_eq!(kv.increment(&longer, 1, 0), Err(KvError::TooLarge));
    let empty = kv.put("", value(0), Expect::Any, 0, 0);
    assert_eq!(empty, Err(KvError::TooLarge));
    assert_eq!(kv.increment("", 1, 0), Err(KvError::TooLarge));
    let put = kv.put("k", value(VALUE_BYTES + 1), Expect::Any, 0, 0);
    assert_eq!(put, Err(KvError::TooLarge));
}

#[test]
fn a_version_grows_with_each_change_and_can_be_expected() {
    let spaces = bounded(1 << 20, 10);
    let kv = spaces.space("p");
    let at = Expect::Version;
    assert_eq!(
        kv.put("k", value(1), at(1), 0, 0),
        Err(KvError::Mismatch(None))
    );
    assert_eq!(kv.put("k", value(1), Expect::Absent, 0, 0), Ok(1));
    assert_eq!(
        kv.put("k", value(1), Expect::Absent, 0, 0),
        Err(KvError::Mismatch(Some(1)))
    );
    assert_eq!(kv.put("k", value(2), at(1), 0, 0), Ok(2));
    assert_eq!(
        kv.put("k", value(3), at(1), 0, 0),
        Err(KvError::Mismatch(Some(2)))
    );
    assert_eq!(
        kv.increment("k", 1, 0),
        Ok(1),
        "what is no number counts as 0"
    );
    assert_eq!(kv.get("k", 0).map(|kept| kept.version), Some(3));
    assert_eq!(kv.remove("k", at(2), 0), Err(KvError::Mismatch(Some(3))));
    assert_eq!(kv.remove("k", at(3), 0), Ok(true));
    assert_eq!(kv.remove("k", Expect::Any, 0), Ok(false));
    assert_eq!(refused(&spaces), 0, "a mismatch is no bound");
}

#[test]
fn what_is_past_its_time_is_absent_and_makes_room() {
    let spaces = bounded(1 << 20, 1);
    let kv = spaces.space("p");
    assert_eq!(kv.put("k", value(1), Expect::Any, 10, 100), Ok(1));
    assert!(kv.get("k", 109).is_some() && kv.get("k", 110).is_none());
    assert_eq!(kv.put("k", value(1), Expect::Absent, 10, 110), Ok(1));
    assert_eq!(kv.increment("n", 1, 119), Err(KvError::Keys));
    spaces.sweep(119);
    assert_eq!(spaces.take_changes().len(), 1);
    spaces.sweep(120);
    let changes = spaces.take_changes();
    assert!(
        matches!(&changes[..], [Change { entry: None, .. }]),
        "{changes:?}"
    );
    assert_eq!(kv.increment("n", 1, 120), Ok(1));
}

#[test]
fn a_counter_keeps_its_time() {
    let spaces = bounded(1 << 20, 10);
    let kv = spaces.space("p");
    let five = Bytes::copy_from_slice(&5i64.to_le_bytes());
    assert_eq!(kv.put("n", five, Expect::Any, 10, 100), Ok(1));
    assert_eq!(kv.increment("n", -7, 105), Ok(-2));
    assert_eq!(kv.increment("n", 1, 110), Ok(1), "it begins anew");
    assert_eq!(kv.increment("n", i64::MAX, 111), Ok(i64::MIN), "it wraps");
}

#[test]
fn pages_are_in_order_and_bounded() {
    let spaces = bounded(1 << 30, 10_000);
    let kv = spaces.space("p");
    for n in 0..SCAN_ENTRIES + 5 {
        assert_eq!(
            kv.put(&format!("a/{n:05}"), value(1), Expect::Any, 0, 0),
            Ok(1)
        );
    }
    assert_eq!(kv.put("b", value(1), Expect::Any, 0, 0), Ok(1));
    let page = kv.scan("a/", None, usize::MAX, 0);
    assert_eq!(page.len(), SCAN_ENTRIES);
    assert!(page.is_sorted_by(|(a, _), (b, _)| a < b));
    let rest = kv.scan("a/", page.last().map(|(key, _)| &**key), 100, 0);
    assert_eq!(rest.len(), 5, "and not b");
    assert_eq!(
        kv.scan("a/", Some("a"), 1, 0)
            .first()
            .map(|(key, _)| &**key),
        Some("a/00000")
    );
    assert!(kv.scan("", Some("b"), 1, 0).is_empty());
    for n in 0..20 {
        assert_eq!(
            kv.put(&format!("c/{n:02}"), value(VALUE_BYTES), Expect::Any, 0, 0),
            Ok(1)
        );
    }
    let large = kv.scan("c/", None, 100, 0);
    let bytes: usize = large
        .iter()
        .map(|(key, kept)| key.len() + kept.value.len())
        .sum();
    let last = large
        .last()
        .map_or(0, |(key, kept)| key.len() + kept.value.len());
    assert!(bytes >= SCAN_BYTES && bytes - last < SCAN_BYTES, "{bytes}");
}

#[test]
fn each_changed_key_is_taken_once_with_its_present_value() {
    let spaces = bounded(1 << 20, 100);
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    spaces.on_change(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let kv = spaces.space("p");
    (0..50).for_each(|_| assert!(kv.increment("n", 1, 0).is_ok()));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    let changes = spaces.take_changes();
    let fifty = Bytes::copy_from_slice(&50i64.to_le_bytes());
    assert!(
        matches!(&changes[..], [Change { entry: Some(entry), .. }] if entry.value == fifty && entry.version == 50),
        "{changes:?}"
    );
    assert!(spaces.take_changes().is_empty() && !spaces.has_changes());
    assert_eq!(kv.increment("n", 1, 0), Ok(51));
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn a_removed_plugin_leaves_nothing_and_changes_nothing() {
    let spaces = bounded(1 << 20, 10_000);
    let old = spaces.space("p");
    for n in 0..1000 {
        assert_eq!(old.increment(&format!("{n}"), 1, 0), Ok(1));
    }
    assert_eq!(spaces.take_changes().len(), 1000);
    spaces.delete_all("p");
    assert_eq!(old.increment("n", 1, 0), Err(KvError::Removed));
    let new = spaces.space("p");
    assert!(new.get("7", 0).is_none());
    assert_eq!(new.increment("7", 3, 0), Ok(3));
    let changes = spaces.take_changes();
    assert_eq!(changes.len(), 1001);
    let of_seven: Vec<bool> = changes
        .iter()
        .filter(|change| &*change.key == "7")
        .map(|change| change.entry.is_some())
        .collect();
    assert_eq!(of_seven, [false, true], "the removal comes first");
}
