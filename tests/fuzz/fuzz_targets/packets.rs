//! Any bytes, in every version: no panic, and what was understood means the same when it is said again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use witmq_proto::codec::{Limits, claimed_level, decode, decode_connect, decode_properties, encode};
use witmq_proto::packet::Version;

fuzz_target!(|bytes: &[u8]| {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut input = BytesMut::from(bytes);
        while let Ok(Some(packet)) = decode(&mut input, version, &Limits::default()) {
            let mut again = BytesMut::new();
            if encode(&packet, version, &mut again).is_ok() {
                assert_eq!(decode(&mut again, version, &Limits::default()), Ok(Some(packet)));
            }
        }
    }
    drop(decode_connect(&mut BytesMut::from(bytes), &Limits::default()));
    drop(decode_properties(bytes, &Limits::default()));
    claimed_level(bytes);
});
