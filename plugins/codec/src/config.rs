//! The form of the configuration.
//!
//! Owns: names and bounds. Must not: see a payload.

use serde::Deserialize;

/// What the operator may set.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Form of the payloads that come.
    pub(crate) from: Format,
    /// Form of the payloads that go on.
    pub(crate) to: Format,
    /// Needed where `from` or `to` is `protobuf`.
    pub(crate) protobuf: Option<Protobuf>,
    /// How JSON gets integers beyond 2^53, which many readers of JSON round.
    #[serde(default)]
    pub(crate) integers: Integers,
    /// What becomes of a payload that cannot be converted.
    #[serde(default)]
    pub(crate) on_error: OnError,
    /// Content Type of what goes on, in place of the usual one.
    #[config(min_length = 1, max_length = 256)]
    pub(crate) content_type: Option<String>,
    /// Bytes of a payload. Twice the maximum, full of small messages of protobuf, takes longer than a call may.
    #[serde(default = "max_bytes")]
    #[config(minimum = 1, maximum = 131_072)]
    pub(crate) max_bytes: u32,
    /// Levels of lists and maps in a payload.
    #[serde(default = "max_depth")]
    #[config(minimum = 1, maximum = 64)]
    pub(crate) max_depth: u8,
}

fn max_bytes() -> u32 {
    65_536
}

fn max_depth() -> u8 {
    32
}

/// Forms of a payload.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Cbor,
    Msgpack,
    Protobuf,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Cbor => "application/cbor",
            Self::Msgpack => "application/vnd.msgpack",
            Self::Protobuf => "application/protobuf",
        }
    }
}

/// What a protobuf payload is.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protobuf {
    /// A FileDescriptorSet in base64: `protoc --include_imports --descriptor_set_out=FILE …`.
    #[config(min_length = 1, max_length = 262_144)]
    pub(crate) descriptor: String,
    /// Full name of the message, as `plant.v1.Reading`.
    pub(crate) message: String,
    /// Names of fields that go on; both are taken.
    #[serde(default)]
    pub(crate) field_names: FieldNames,
    /// Whether fields without presence go on when they have their default value.
    #[serde(default)]
    pub(crate) defaults: bool,
    /// What becomes of fields that the descriptor does not know.
    #[serde(default)]
    pub(crate) unknown_fields: UnknownFields,
}

/// Names of protobuf fields.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldNames {
    /// `outsideTemp`.
    #[default]
    Json,
    /// `outside_temp`.
    Proto,
}

/// What becomes of fields that the descriptor does not know.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownFields {
    /// They are left out.
    #[default]
    Drop,
    /// The payload cannot be converted.
    Refuse,
}

/// How JSON gets integers beyond 2^53.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Integers {
    /// As numbers, all digits.
    #[default]
    Number,
    /// As texts.
    Text,
    /// The payload cannot be converted.
    Refuse,
}

/// What becomes of a payload that cannot be converted.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnError {
    /// Payload format invalid, with the reason.
    #[default]
    Refuse,
    /// It goes on as it is, with the reason as user property `codec-error`.
    Tag,
}
