//! What is remembered is what trie, interest and chains say, through every change and on both sides of each bound.

use super::*;
use crate::router::ShardId;
use crate::router::groups::Strategies;
use proptest::prelude::*;
use witmq_proto::TopicFilter;

fn found(known: &mut Known<u8>, trie: &Trie<u8>, topic: &str) -> Vec<(u32, u8)> {
    let (mut all, mut walk) = (Vec::new(), Walk::default());
    let place = known.place(topic);
    known.for_each_match(trie, place, &mut walk, |key, value| all.push((key, *value)));
    all
}

fn walked(trie: &Trie<u8>, topic: &str) -> Vec<(u32, u8)> {
    let mut all = Vec::new();
    trie.for_each_match(topic, &mut Walk::default(), |key, value| {
        all.push((key, *value));
    });
    all
}

proptest! {
    #[test]
    fn it_says_what_trie_and_interest_say_through_every_change(
        steps in proptest::collection::vec((0usize..5, 0u32..20, 0u8..9), 1..40),
    ) {
        let (mut trie, mut known) = (Trie::new(), Known::new(3));
        let interest = Interest::new(2, Strategies::default());
        for (filter, key, value) in steps {
            let filter = TopicFilter::new(["a/b", "a/+", "a/#", "#", "c"][filter]).unwrap();
            let shard = ShardId(u16::try_from(key % 2).unwrap());
            if value == 0 {
                if trie.remove(&filter, key).is_some() {
                    interest.unsubscribe(shard, &filter, false);
                }
            } else if trie.insert(&filter, key, value).is_none() {
                interest.subscribe(shard, &filter, false);
            }
            for topic in ["a/b", "a", "c", "d/e", "a/b"] {
                prop_assert_eq!(found(&mut known, &trie, topic), walked(&trie, topic));
                let place = known.place(topic);
                let wanted = known.wanted(&interest, place).shards;
                prop_assert_eq!(wanted, interest.find(topic).shards, "{}", topic);
            }
        }
    }
}

#[test]
fn chains_are_asked_once_for_each_topic_and_version() {
    let mut known = Known::<u8>::new(10);
    let only = Named::only;
    let mut asked = Vec::new();
    for (topic, version, says, expected) in [
        ("a", 1, only(7), only(7)),
        ("b", 1, Named::NONE, Named::NONE),
        ("a", 1, Named::NONE, only(7)),
        ("b", 1, Named::SOME, Named::NONE),
        ("b", 2, Named::SOME, Named::SOME),
        ("a", 2, only(0), only(0)),
    ] {
        let place = known.place(topic);
        let said = known.named(place, version, |name| {
            asked.push((name.to_owned(), version));
            says
        });
        assert_eq!(said, expected, "{topic} at {version}");
    }
    let asked: Vec<_> = asked.iter().map(|(name, at)| (&**name, *at)).collect();
    assert_eq!(asked, [("a", 1), ("b", 1), ("b", 2), ("a", 2)]);
}

/// Topics that are known, by name, and each as it is found.
fn known_names(known: &Known<u8>, among: impl Iterator<Item = u32>) -> Vec<u32> {
    let is_known = |name: &u32| {
        let name = name.to_string();
        let hash = known.hasher.hash_one(name.as_bytes());
        let found = known.places.find(hash, |place| {
            let known = known.at(Place(place)).unwrap();
            known.name.as_bytes() == name.as_bytes()
        });
        found.is_some()
    };
    among.filter(is_known).collect()
}

#[test]
fn many_matches_are_not_remembered() {
    let (mut trie, mut known) = (Trie::new(), Known::new(10));
    let filter = TopicFilter::new("many").unwrap();
    let few = TopicFilter::new("few").unwrap();
    for key in 0..17 {
        trie.insert(&filter, key, 1);
        if key < 16 {
            trie.insert(&few, key, 1);
        }
    }
    for _ in 0..2 {
        assert_eq!(found(&mut known, &trie, "many").len(), 17);
        assert_eq!(found(&mut known, &trie, "few").len(), 16);
    }
    let matched = |topic: &str, known: &mut Known<u8>| {
        let place = known.place(topic);
        match &known.at(place).unwrap().matched {
            Matched::Few(one) => one.iter().len(),
            Matched::Several(all) => all.len(),
            Matched::Many => usize::MAX,
        }
    };
    assert_eq!(matched("many", &mut known), usize::MAX);
    assert_eq!(matched("few", &mut known), 16);
}

#[test]
fn the_topic_that_has_been_there_longest_goes_for_another() {
    let mut known = Known::<u8>::new(10);
    for name in 0..10 {
        known.place(&name.to_string());
    }
    assert_eq!((known.len(), known.forgotten()), (10, 0));
    assert_eq!(known_names(&known, 0..99), Vec::from_iter(0..10));
    let comes = |known: &mut Known<u8>, name: u32| {
        known.place(&name.to_string());
        known.last = PASSING; // it is not at hand as the last one
        known.passing.become_another("");
    };
    for name in 10..40 {
        comes(&mut known, name);
        for _ in 1..PATIENCE {
            assert_eq!(known.forgotten(), u64::from(name - 10), "{name}");
            comes(&mut known, name);
        }
        assert_eq!(known.forgotten(), u64::from(name - 10), "{name}");
        comes(&mut known, name);
        assert_eq!((known.len(), known.forgotten()), (10, u64::from(name - 9)));
        assert_eq!(known_names(&known, name..name + 1), [name]);
        comes(&mut known, name);
        assert_eq!(known.forgotten(), u64::from(name - 9), "it is known");
    }
    assert!(!known_names(&known, 0..40).contains(&20));
    assert_eq!(known.topics.iter().flatten().count(), 10);
}

#[test]
fn as_many_topics_as_may_be_are_all_known_however_they_come() {
    for capacity in [1, 2, 15, 16, 17, 1000, 10_000] {
        let mut known = Known::<u8>::new(capacity);
        let most = u32::try_from(capacity).unwrap();
        for round in 0..3 {
            for name in 0..most {
                assert_ne!(known.place(&name.to_string()).0, PASSING, "{name} {round}");
            }
        }
        assert_eq!(
            (known.len(), known.forgotten()),
            (capacity, 0),
            "{capacity}"
        );
    }
}

#[test]
fn from_so_many_topics_on_one_is_remembered_when_it_comes_again_soon() {
    let mut known = Known::<u8>::new(2 * AT_ONCE);
    for name in 0..AT_ONCE {
        known.place(&name.to_string());
    }
    assert_eq!((known.len(), known.seen.len()), (AT_ONCE, 0));
    known.place("a");
    known.place("b");
    assert_eq!(known.len(), AT_ONCE, "each came once");
    known.place("a");
    assert_eq!(known.len(), AT_ONCE + 1);
    known.place("late");
    for number in 0..40 * SEEN {
        known.came_lately(known.hasher.hash_one(number));
    }
    known.place("a");
    known.place("late");
    assert_eq!(known.len(), AT_ONCE + 1, "too many came between");
    known.place("a");
    known.place("late");
    assert_eq!(known.len(), AT_ONCE + 2);
}

#[test]
fn a_topic_takes_two_lines_and_one_that_is_long_is_known_too() {
    assert_eq!(size_of::<Topic<[u32; 3]>>(), 128);
    let (mut trie, mut known) = (Trie::new(), Known::new(100));
    let names: Vec<String> = [1, 46, 47, 500].map(|len| "x".repeat(len)).into();
    for (key, name) in (0..).zip(&names) {
        trie.insert(&TopicFilter::new(&**name).unwrap(), key, 1);
    }
    for _ in 0..3 {
        for (key, name) in (0..).zip(&names) {
            assert_eq!(found(&mut known, &trie, name), [(key, 1)]);
        }
    }
    assert_eq!(known.len(), names.len());
}

#[test]
fn after_the_last_version_that_can_be_told_apart_all_are_asked_anew() {
    let mut known = Known::<u8>::new(10);
    let says = |known: &mut Known<u8>, topic: &str, version, says| {
        let place = known.place(topic);
        let named = known.named(place, version, |_| Named::only(says));
        named.single().unwrap()
    };
    assert_eq!(says(&mut known, "a", 1, 1), 1, "the first version");
    assert_eq!(says(&mut known, "b", 1, 1), 1);
    known.chains.short = u32::MAX - 1;
    assert_eq!(says(&mut known, "b", 2, 2), 2, "the last one");
    assert_eq!(says(&mut known, "b", 2, 3), 2, "remembered");
    assert_eq!(says(&mut known, "b", 3, 3), 3);
    assert_eq!(known.chains.short, 1, "counted from the first again");
    assert_eq!(
        says(&mut known, "a", 3, 4),
        4,
        "not what was said of that number"
    );
}

#[test]
fn a_look_ahead_changes_nothing_and_takes_any_bytes() {
    let mut known = Known::<u8>::new(2 * FAR);
    for name in 0..FAR {
        assert!(!known.is_far());
        known.place(&name.to_string());
    }
    assert!(known.is_far());
    let names: Vec<String> = (0..2 * FAR).map(|name| name.to_string()).collect();
    let odd: [&[u8]; 4] = [b"", b"\xFF", b"1", b"1"];
    for bytes in names.chunks(3 * AHEAD) {
        known.look_ahead(bytes.iter().map(String::as_bytes).chain(odd));
    }
    known.look_ahead(odd.into_iter());
    known.look_ahead(std::iter::empty());
    assert_eq!((known.len(), known.forgotten()), (FAR, 0));
    assert_eq!(known_names(&known, 0..99).len(), 99);
}
