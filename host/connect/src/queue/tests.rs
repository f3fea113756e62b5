//! A queue is pushed to, read, closed at every point and opened again.

use super::reader::Taken;
use super::*;
use crate::record::tests::{message, publisher};
use crate::record::{HEAD_BYTES, encode};
use bytes::BytesMut;

const WIDE: Bounds = Bounds {
    messages: 1_000_000,
    bytes: 1 << 30,
};

fn record(number: u64) -> BytesMut {
    let mut out = BytesMut::new();
    assert!(encode(
        publisher(),
        &message("t", &number.to_string()),
        &mut out
    ));
    out
}

fn opened(folder: &Path, segment_bytes: u64) -> Arc<Queue> {
    let (queue, notes) = Queue::open_with(folder, WIDE, segment_bytes).expect("opens");
    assert_eq!(notes, Vec::<String>::new());
    Arc::new(queue)
}

fn reader(queue: &Arc<Queue>) -> Reader {
    Reader::open(queue)
        .expect("opens")
        .expect("is the only one")
}

fn number(taken: &Taken) -> u64 {
    let payload = &taken.record.as_ref().expect("readable").payload;
    std::str::from_utf8(payload)
        .unwrap_or_default()
        .parse()
        .expect("a number")
}

/// All that is left, in order.
fn rest(reader: &mut Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next().expect("reads"))
        .map(|taken| number(&taken))
        .collect()
}

#[test]
fn what_is_done_does_not_come_again_and_the_rest_does_in_order() {
    for segment_bytes in [1, 150, 1 << 20] {
        let folder = tempfile::tempdir().expect("folder");
        let mut expected = 0;
        for round in 0..5_u64 {
            let queue = opened(folder.path(), segment_bytes);
            assert_eq!(queue.messages(), round * 7 - expected, "{segment_bytes}");
            for one in round * 7..round * 7 + 7 {
                queue.push(&record(one)).expect("kept");
            }
            let mut reader = reader(&queue);
            for _ in 0..5 {
                let taken = reader.next().expect("reads").expect("there");
                assert_eq!(number(&taken), expected);
                reader.finish(taken.end, 1, taken.bytes).expect("done");
                expected += 1;
            }
            let taken = reader.next().expect("reads").expect("there");
            assert_eq!(number(&taken), expected); // taken, not done
        }
        let queue = opened(folder.path(), segment_bytes);
        assert_eq!(rest(&mut reader(&queue)), (25..35).collect::<Vec<_>>());
        assert_eq!(queue.messages(), 10);
    }
}

#[test]
fn the_reader_sees_what_is_pushed_later() {
    let folder = tempfile::tempdir().expect("folder");
    let queue = opened(folder.path(), 200);
    let mut reader = reader(&queue);
    for one in 0..50 {
        assert!(reader.next().expect("reads").is_none());
        queue.push(&record(one)).expect("kept");
        let taken = reader.next().expect("reads").expect("there");
        assert_eq!(number(&taken), one);
        reader.finish(taken.end, 1, taken.bytes).expect("done");
    }
    assert_eq!((queue.messages(), queue.bytes()), (0, 0));
    // What is done with leaves the disk.
    assert!(files::segments(folder.path()).expect("folder").len() <= 2);
}

#[test]
fn both_bounds_refuse_what_is_too_much_and_take_what_fits() {
    let length = u64::try_from(record(1).len()).expect("short");
    let (by_count, by_bytes) = (
        Bounds {
            messages: 2,
            bytes: u64::MAX,
        },
        Bounds {
            messages: u64::MAX,
            bytes: length * 2,
        },
    );
    for bounds in [by_count, by_bytes] {
        let folder = tempfile::tempdir().expect("folder");
        let (queue, _) = Queue::open(folder.path(), bounds).expect("opens");
        let queue = Arc::new(queue);
        queue.push(&record(1)).expect("fits");
        queue.push(&record(2)).expect("fits");
        assert!(matches!(queue.push(&record(3)), Err(NotKept::Full)));
        let mut reader = reader(&queue);
        let taken = reader.next().expect("reads").expect("there");
        reader.finish(taken.end, 1, taken.bytes).expect("done");
        queue.push(&record(4)).expect("fits again");
        assert_eq!(rest(&mut reader), [2, 4]);
    }
}

#[test]
fn a_torn_end_is_cut_at_every_byte_and_nothing_before_it_lost() {
    let whole = record(2).len();
    for cut in 1..whole {
        let folder = tempfile::tempdir().expect("folder");
        let queue = opened(folder.path(), 1 << 20);
        queue.push(&record(1)).expect("kept");
        queue.push(&record(2)).expect("kept");
        let end = queue.end();
        drop(queue);
        let path = files::path(folder.path(), end.segment);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("there");
        file.set_len(end.offset - u64::try_from(cut).expect("short"))
            .expect("cut");
        let (queue, notes) = Queue::open(folder.path(), WIDE).expect("opens");
        assert_eq!(notes.len(), 1, "{cut}");
        let queue = Arc::new(queue);
        queue.push(&record(3)).expect("kept");
        assert_eq!(rest(&mut reader(&queue)), [1, 3], "{cut}");
    }
}

#[test]
fn a_damaged_segment_is_passed_over_and_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let queue = opened(folder.path(), 1 << 20);
    queue.push(&record(1)).expect("kept");
    queue.push(&record(2)).expect("kept");
    let first = queue.end().segment;
    drop(queue);
    let queue = opened(folder.path(), 1 << 20);
    queue.push(&record(3)).expect("kept");
    drop(queue);
    let path = files::path(folder.path(), first);
    let mut bytes = std::fs::read(&path).expect("there");
    let place = bytes.len() - record(2).len() + HEAD_BYTES;
    bytes[place] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let (queue, notes) = Queue::open(folder.path(), WIDE).expect("opens");
    assert!(notes[0].contains("is damaged at byte"), "{notes:?}");
    let queue = Arc::new(queue);
    let mut reader = reader(&queue);
    for wanted in [1, 3] {
        let taken = reader.next().expect("reads").expect("there");
        assert_eq!(number(&taken), wanted);
        reader.finish(taken.end, 1, taken.bytes).expect("done");
    }
    assert!(path.with_extension("damaged").is_file() && !path.exists());
}

#[test]
fn a_cursor_that_is_not_whole_brings_everything_again() {
    let folder = tempfile::tempdir().expect("folder");
    let queue = opened(folder.path(), 1 << 20);
    queue.push(&record(1)).expect("kept");
    let mut only = reader(&queue);
    assert!(
        Reader::open(&queue).expect("opens").is_none(),
        "a second reader"
    );
    let taken = only.next().expect("reads").expect("there");
    only.finish(taken.end, 1, taken.bytes).expect("done");
    drop((only, queue));
    std::fs::write(folder.path().join("cursor"), b"something else than that").expect("written");
    let queue = opened(folder.path(), 1 << 20);
    assert_eq!((queue.messages(), rest(&mut reader(&queue))), (1, vec![1]));
}

/// Not a test: what a message costs the shard that hands it over. `cargo test --release --package witmq-connect
/// costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_a_message_costs() {
    for (payload, threads) in [(64, 1), (256, 1), (4096, 1), (256, 2)] {
        let folder = tempfile::tempdir().expect("folder");
        let queue = opened(folder.path(), SEGMENT_BYTES);
        let given = message("sensors/ams/12/temp", &"x".repeat(payload));
        let count = 100_000_u32;
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut out = BytesMut::new();
                    for _ in 0..count {
                        out.clear();
                        assert!(encode(publisher(), &given, &mut out));
                        queue.push(&out).expect("kept");
                    }
                });
            }
        });
        let each = start.elapsed() / count;
        println!("{payload} bytes, {threads} shards: {each:?} a message on each");
    }
}
