//! Protocol Buffers there and back, and the bounds on both sides.

use super::*;
use proptest::prelude::*;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use serde_json::json;

/// `M { int64 n; repeated M more; bytes raw; float f; }`, in as many files as there are names.
fn descriptor(files: usize) -> String {
    let field = |name: &str, number, kind: Type, label: Label| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name: (kind == Type::Message).then(|| ".p0.M".to_owned()),
        ..FieldDescriptorProto::default()
    };
    let file = |at: usize| FileDescriptorProto {
        name: Some(format!("{at}.proto")),
        package: Some(format!("p{at}")),
        dependency: if at == 0 {
            vec![]
        } else {
            vec!["0.proto".to_owned()]
        },
        message_type: vec![DescriptorProto {
            name: Some("M".to_owned()),
            field: vec![
                field("n", 1, Type::Int64, Label::Optional),
                field("more", 2, Type::Message, Label::Repeated),
                field("raw", 3, Type::Bytes, Label::Optional),
                field("f", 4, Type::Float, Label::Optional),
            ],
            ..DescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    let file = (0..files).map(file).collect();
    BASE64_STANDARD.encode(FileDescriptorSet { file }.encode_to_vec())
}

fn schema() -> Schema {
    Schema::new(&descriptor(1), "p0.M").unwrap()
}

#[test]
fn values_go_there_and_back() {
    let schema = schema();
    let json = json!({"n": i64::MIN, "raw": "AQI=", "f": 20.1, "more": [{"n": 1}, {}]});
    let bytes = schema.write(&json).unwrap();
    assert_eq!(schema.read(&bytes), Ok(json));
    assert_eq!(
        schema.write(&json!({"n": 2.0})),
        schema.write(&json!({"n": "2"}))
    );
    for (bad, words) in [
        (json!({"x": 1}), "p0.M has no field `x`"),
        (json!({"n": 1.5}), "p0.M.n: it has to be a whole number"),
        (
            json!({"n": u64::MAX}),
            "p0.M.n: 18446744073709551615 is too large",
        ),
        (json!({"more": {}}), "p0.M.more: it has to be a list"),
        (json!([]), "p0.M has to be an object"),
    ] {
        let error = schema.write(&bad).unwrap_err();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn a_descriptor_is_bounded() {
    let bytes = |text: &str| BASE64_STANDARD.decode(text).unwrap().len();
    let (mut files, mut most, mut larger) = (1, descriptor(1), descriptor(2));
    while bytes(&larger) <= DESCRIPTOR_BYTES {
        files += DESCRIPTOR_BYTES.saturating_sub(bytes(&larger)) / 200 + 1;
        (most, larger) = (larger, descriptor(files + 1));
    }
    assert!(Schema::new(&most, "p0.M").is_ok(), "{}", bytes(&most));
    match Schema::new(&larger, "p0.M") {
        Err(Flaw::Descriptor(cause)) => assert_eq!(cause, too_large()),
        other => panic!("{other:?}"),
    }
}

/// Two bytes on the wire are a message that is not set to anything.
#[test]
fn what_a_payload_becomes_is_bounded() {
    let empty = |count: usize| [0x12, 0].repeat(count);
    assert!(
        schema()
            .read(&empty(DECODED_BYTES / VALUE_BYTES - 2))
            .is_ok()
    );
    let error = schema()
        .read(&empty(DECODED_BYTES / VALUE_BYTES))
        .unwrap_err();
    assert_eq!(error, "it would become more than 4194304 bytes");
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| {
        (0..levels).fold(Vec::new(), |inner, _| {
            let mut length = inner.len();
            let mut outer = vec![0x12];
            while length > 127 {
                outer.push(u8::try_from(length & 127).unwrap() | 128);
                length >>= 7;
            }
            outer.push(u8::try_from(length).unwrap());
            outer.extend(inner);
            outer
        })
    };
    assert!(schema().read(&nested(90)).is_ok());
    assert!(schema().read(&nested(200)).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
        drop(schema().read(&payload));
    }
}
