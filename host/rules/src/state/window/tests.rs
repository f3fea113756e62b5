//! Windows, and windows as lists of all that came.

use super::*;
use crate::state::table::ENTRY_BYTES;
use proptest::prelude::*;

fn bounds() -> Bounds {
    Bounds {
        entries: 100,
        bytes: usize::MAX,
        ..Bounds::default()
    }
}

fn window(kind: Kind) -> Window<u64> {
    Window::new(bounds(), kind)
}

/// What a window says of a list: count, sum, min, max, first, last, start, end.
type Said = (u64, [f64; 5], u64, u64);

fn said(summary: &Summary) -> Said {
    let one = summary.sums.names[0];
    (
        summary.sums.count,
        [one.sum, one.min, one.max, one.first, one.last],
        summary.start_ms,
        summary.end_ms,
    )
}

fn naive(values: &[f64], start_ms: u64, end_ms: u64) -> Said {
    let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap();
    (
        u64::try_from(values.len()).unwrap(),
        [
            values.iter().sum(),
            fold(f64::min),
            fold(f64::max),
            values[0],
            values[values.len() - 1],
        ],
        start_ms,
        end_ms,
    )
}

fn add(window: &Window<u64>, now_ms: u64, value: f64) -> Took<u64> {
    window.add("a", now_ms, &[value], || (now_ms, 0))
}

#[test]
fn a_window_of_so_many_ends_with_the_last_of_them() {
    let window = window(Kind::Count(3));
    let ended = [1.0, 2.0, 6.0, 9.0].map(|value| add(&window, 10, value).now);
    assert!(ended[0].is_none() && ended[1].is_none() && ended[3].is_none());
    let found = said(ended[2].as_ref().unwrap());
    assert_eq!(found, naive(&[1.0, 2.0, 6.0], 10, 10));
}

#[test]
fn a_window_of_time_ends_with_the_next_message_or_by_itself() {
    let window = window(Kind::Parts {
        part_ms: 1000,
        parts: 1,
    });
    for (now, value) in [(5100, 1.0), (5999, 3.0)] {
        let took = add(&window, now, value);
        assert!(took.closed.is_empty() && took.now.is_none());
    }
    assert_eq!(window.next_due(), Some(6000));
    assert!(window.close_due(5999, 10).0.is_empty());
    let closed = add(&window, 6000, 7.0).closed;
    assert_eq!(closed[0].last, 5999);
    assert_eq!(said(&closed[0].summary), naive(&[1.0, 3.0], 5000, 6000));
    assert_eq!(window.next_due(), Some(7000));
    let (closed, seen) = window.close_due(7000, 10);
    assert_eq!((seen, closed.len()), (1, 1));
    assert_eq!(said(&closed[0].summary), naive(&[7.0], 6000, 7000));
    assert_eq!((window.next_due(), window.size()), (None, (0, 0)));
}

#[test]
fn a_late_message_counts_in_the_window_that_is_open_and_a_clock_set_back_begins_anew() {
    let window = window(Kind::Parts {
        part_ms: 1000,
        parts: 1,
    });
    add(&window, 5000, 1.0);
    assert!(add(&window, 4999, 2.0).closed.is_empty());
    let closed = add(&window, 1000, 5.0).closed;
    assert_eq!(said(&closed[0].summary), naive(&[1.0, 2.0], 5000, 6000));
    assert_eq!(window.next_due(), Some(2000));
}

#[test]
fn a_sliding_window_of_time_holds_so_many_values_and_no_more() {
    let window = window(Kind::LastTime(1_000_000));
    let most = u64::try_from(WINDOW_VALUES).unwrap();
    for number in 0..most {
        assert_eq!(add(&window, number, 1.0).given_up, 0);
    }
    let took = add(&window, most, 1.0);
    assert_eq!((took.given_up, took.now.unwrap().sums.count), (1, most));
}

#[test]
fn the_bytes_of_windows_are_bounded() {
    let window = Window::<()>::new(
        Bounds {
            entries: 100,
            bytes: 4 * ENTRY_BYTES,
            ..Bounds::default()
        },
        Kind::LastCount(1000),
    );
    let add = |key: &str| window.add(key, 0, &[1.0], || ((), 0));
    let given_up: Vec<usize> = (0..10).map(|_| add("a").given_up).collect();
    assert!(
        given_up.contains(&1),
        "a window that does not fit begins anew"
    );
    assert_eq!(given_up[0], 0);
    assert!(window.size().1 <= 4 * ENTRY_BYTES);
}

#[test]
fn large_values_leave_nothing_behind() {
    let window = window(Kind::LastCount(2));
    for value in [1e300, 0.1] {
        add(&window, 0, value);
    }
    assert_eq!(said(&add(&window, 0, 0.2).now.unwrap()).1[0], 0.1 + 0.2);
}

/// Pauses and values; whole numbers, so that sums are exact in any order.
fn messages() -> impl Strategy<Value = Vec<(u64, i16)>> {
    prop::collection::vec((0u64..700, any::<i16>()), 1..80)
}

proptest! {
    #[test]
    fn windows_of_so_many_as_lists(messages in messages(), count in 1usize..9) {
        let (tumbling, sliding) = (window(Kind::Count(count)), window(Kind::LastCount(count)));
        let (mut now, mut all) = (0, Vec::new());
        for (pause, value) in messages {
            now += pause;
            all.push((now, f64::from(value)));
            let of = |first: usize| {
                let values: Vec<f64> = all[first..].iter().map(|(_, value)| *value).collect();
                naive(&values, all[first].0, now)
            };
            let expected = (all.len() % count == 0).then(|| of(all.len() - count));
            let took = add(&tumbling, now, f64::from(value));
            prop_assert_eq!(took.now.as_ref().map(said), expected);
            let took = add(&sliding, now, f64::from(value));
            let expected = of(all.len().saturating_sub(count));
            prop_assert_eq!(took.now.as_ref().map(said), Some(expected));
        }
    }

    #[test]
    fn windows_of_the_last_time_as_lists(messages in messages(), time_ms in 1u64..3000) {
        let window = window(Kind::LastTime(time_ms));
        let (mut now, mut all) = (5000, Vec::new());
        for (pause, value) in messages {
            now += pause;
            all.push((now, f64::from(value)));
            let within = all.iter().filter(|(then, _)| then + time_ms > now);
            let values: Vec<f64> = within.map(|(_, value)| *value).collect();
            let took = add(&window, now, f64::from(value));
            let expected = naive(&values, now - time_ms, now);
            prop_assert_eq!(took.now.as_ref().map(said), Some(expected));
        }
    }

    /// Whether windows end by a message or by themselves, they are those that a list of all messages divides into.
    #[test]
    fn windows_in_parts_as_lists(
        messages in messages(),
        parts in 1u64..5,
        timers in prop::collection::vec(any::<bool>(), 80),
    ) {
        let window = window(Kind::Parts { part_ms: 500, parts });
        let (mut now, mut all, mut closed) = (10_000, Vec::new(), Vec::new());
        for ((pause, value), is_timed) in messages.iter().zip(timers) {
            now += pause;
            if is_timed {
                closed.extend(window.close_due(now, 10).0);
            }
            closed.extend(add(&window, now, f64::from(*value)).closed);
            all.push((now, f64::from(*value)));
        }
        closed.extend(window.close_due(now + 500 * (parts + 1), 10).0);
        prop_assert_eq!(window.size(), (0, 0));
        let mut expected = Vec::new();
        for end in 1..(now / 500 + parts + 3) {
            let (start_ms, end_ms) = (end.saturating_sub(parts) * 500, end * 500);
            let within = all.iter().filter(|(then, _)| (start_ms..end_ms).contains(then));
            let values: Vec<f64> = within.map(|(_, value)| *value).collect();
            if !values.is_empty() {
                let last = all.iter().rev().find(|(then, _)| *then < end_ms).unwrap().0;
                expected.push((last, naive(&values, start_ms, end_ms)));
            }
        }
        let found: Vec<_> = closed.iter().map(|one| (one.last, said(&one.summary))).collect();
        prop_assert_eq!(found, expected);
    }
}
